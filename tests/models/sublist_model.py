"""The obvious matcher: a list of subscriptions, looked through from the first to the last.

`pattern_matches` is NATS's rule in its shortest form; the fast modules are held against it.
"""

from dataclasses import dataclass


def pattern_matches(pattern: bytes, subject: bytes) -> bool:
    """Whether a message published on ``subject`` goes to a subscription on ``pattern``."""
    tokens = subject.split(b".")
    if b"" in tokens:
        return False  # seen with nats-server 2.15.1: accepted, and delivered to nobody, not even to `>`
    return tokens_match(pattern.split(b"."), tokens)


def tokens_match(wanted: list[bytes], tokens: list[bytes]) -> bool:
    """The same for tokens, from the left."""
    if wanted == [b">"]:
        return len(tokens) > 0
    if not wanted or not tokens:
        return not wanted and not tokens
    return wanted[0] in (b"*", tokens[0]) and tokens_match(wanted[1:], tokens[1:])


@dataclass(frozen=True)
class Entry:
    """One subscription: pattern, queue (0: plain), and what stands for it."""

    pattern: bytes
    queue_id: int
    item: int


class SublistModel:
    """Twin of subjects.sublist.Sublist."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def insert(self, entry: Entry) -> None:
        """Add a subscription."""
        self.entries.append(entry)

    def remove(self, entry: Entry) -> None:
        """Take it out; it must be in."""
        self.entries.remove(entry)

    def match(self, subject: bytes) -> tuple[set[int], dict[int, set[int]]]:
        """(plain items, {queue id: items}) that want the subject."""
        plain: set[int] = set()
        groups: dict[int, set[int]] = {}
        for entry in self.entries:
            if pattern_matches(entry.pattern, subject):
                members = groups.setdefault(entry.queue_id, set()) if entry.queue_id else plain
                members.add(entry.item)
        return plain, groups
