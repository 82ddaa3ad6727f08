"""Which of many subjects overlap with a given one, without looking at all of them.

A trie of tokens: each node has a child for every next token, and wildcards are tokens like others. A query
walks both at once, and follows several children where a wildcard stands on either side. So a stream with ten
thousand subjects is checked against itself, and against all streams of its account (error 10065), in time
that grows with the number of subjects and not with its square.

The same subject may be added several times, with different values. Two subjects *overlap* if some literal
subject is matched by both. Lost: `subjects/sublist.pyx`, which answers another question, who receives a
literal subject, and cannot take a pattern as the question.
"""

from collections.abc import Hashable, Iterator


class _Node:
    __slots__ = ("children", "entries")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        # Those whose last token leads here. In a list: two are rare, and removing looks at few.
        self.entries: list[tuple[str, Hashable]] = []


class SubjectTrie:
    """Subjects (valid ones, with or without wildcards) and a value for each."""

    def __init__(self) -> None:
        self._root = _Node()
        self._size = 0

    def __len__(self) -> int:
        """How many subjects were added and not removed."""
        return self._size

    def add(self, subject: str, value: Hashable = None) -> None:
        """Remember ``subject`` with ``value``."""
        node = self._root
        for token in subject.split("."):
            child = node.children.get(token)
            if child is None:
                child = node.children[token] = _Node()
            node = child
        node.entries.append((subject, value))
        self._size += 1

    def remove(self, subject: str, value: Hashable = None) -> bool:
        """Forget one entry that was added with these; False if there is none."""
        path = [(self._root, "")]
        for token in subject.split("."):
            child = path[-1][0].children.get(token)
            if child is None:
                return False
            path.append((child, token))
        entries = path[-1][0].entries
        if (subject, value) not in entries:
            return False
        entries.remove((subject, value))
        self._size -= 1
        # Nodes that lead nowhere any more go, from the end.
        while len(path) > 1 and not path[-1][0].entries and not path[-1][0].children:
            _, token = path.pop()
            del path[-1][0].children[token]
        return True

    def overlaps(self, subject: str) -> Iterator[tuple[str, Hashable]]:
        """All (subject, value) that overlap with ``subject``, each once, in no order."""
        tokens = subject.split(".")
        count = len(tokens)
        to_visit = [(self._root, 0)]
        while to_visit:
            node, index = to_visit.pop()
            if index == count:
                yield from node.entries
                continue
            token = tokens[index]
            children = node.children
            if token == ">" and index == count - 1:
                yield from _everything_below(node)
                continue
            # A rest here takes whatever is left of the subject, which is at least this token.
            if (rest := children.get(">")) is not None:
                yield from rest.entries
            if token == "*":
                # An empty token is no subject's, but may have been added to find what covers it.
                others = (child for name, child in children.items() if name not in (">", ""))
                to_visit += [(child, index + 1) for child in others]
                continue
            if (child := children.get(token)) is not None and token != ">":
                to_visit.append((child, index + 1))
            if (child := children.get("*")) is not None:
                to_visit.append((child, index + 1))

    def covering(self, subject: str) -> Iterator[tuple[str, Hashable]]:
        """All (subject, value) that match whatever ``subject`` matches, each once, in no order."""
        tokens = subject.split(".")
        to_visit = [(self._root, 0)]
        while to_visit:
            node, index = to_visit.pop()
            if index == len(tokens):
                yield from node.entries
                continue
            children = node.children
            if (rest := children.get(">")) is not None:
                yield from rest.entries
            token = tokens[index]
            if token == ">":
                continue
            names = {token, "*"} if token else {token}
            to_visit += [(children[name], index + 1) for name in names if name in children]


def _everything_below(node: _Node) -> Iterator[tuple[str, Hashable]]:
    to_visit = list(node.children.values())
    while to_visit:
        node = to_visit.pop()
        yield from node.entries
        to_visit += node.children.values()
