"""Property: files and functions stay small enough to be read in one sitting.

Aim: 100-500 lines a file; the hard stop is 800. A function stops at 70 lines. A file or function which has a
good reason to be longer is listed here with the reason, so that each exception is seen in review.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.tidy.tree import package_files, relative, source_files

FILE_LINES_HARD = 800
FILE_LINES_SOFT = 500
FUNCTION_LINES_HARD = 70
# file -> reason. For files between the soft and the hard limit.
LONG_FILES: dict[str, str] = {
    "shardbroker/shm/ring.pyx": "both ends of one protocol, read side by side",
    "shardbroker/shm/interest_directory.pyx": "changes and questions make the same keys of subjects",
    "shardbroker/routing/router.pyx": "the publish path in one unit, so that its helpers are inlined",
    "shardbroker/jetstream/consumer.pyx": "whatever happens to a consumer moves the same floors and counts",
    "shardbroker/jetstream/publish_checks.pyx": "what is checked and what is foreseen use the same counts",
    "shardbroker/jetstream/stream_state.pyx": "however a message enters or leaves, all figures are kept",
    "shardbroker/storage/log_scan.pyx": "one walk over a log; its cases share the place where they are",
    "shardbroker/streamwriter/write_loop.pyx": "one cycle of the writer told in order, and its failures",
    "tests/system/test_snapshots.py": "whole, refused, broken and interrupted backups share their archives",
    "shardbroker/workers/event_loop.pyx": "one turn of a worker told in order; its parts share its fields",
    "shardbroker/workers/session.pyx": "every command of the protocol, one method each",
}
# "file:function" -> reason.
LONG_FUNCTIONS: dict[str, str] = {
    "shardbroker/routing/router.pyx:on_frame": "a flat walk over the groups of one frame",
    "shardbroker/routing/route_cache.pyx:build": "a flat list of steps over the same local arrays",
    "shardbroker/workers/session.pyx:on_subscribe": "the checks of SUB in nats-server's order",
}
# Function heads in Cython: def, cpdef, and cdef with a parenthesis and a colon at the end.
CYTHON_HEAD = re.compile(r"^(\s*)(?:async\s+def|def|cpdef|cdef(?!\s+class|\s+extern))\b[^=#]*?(\w+)\s*\(")


def python_functions(text: str) -> list[tuple[str, int]]:
    """(name, lines) of each function, docstring not counted."""
    result = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines -= first.end_lineno - first.lineno + 1
            result.append((node.name, lines))
    return result


def cython_functions(text: str) -> list[tuple[str, int]]:
    """(name, lines) by indentation: a function ends before the next line that is not deeper than its head.

    Docstrings are taken out first, and lines inside brackets of the head are passed over.
    """
    text = re.sub(r'(?s)("""|\'\'\').*?\1', "''", text)
    lines = text.splitlines()
    result = []
    for start, line in enumerate(lines):
        head = CYTHON_HEAD.match(line)
        if not head:
            continue
        end = start
        depth = line.count("(") - line.count(")")
        while depth > 0 and end + 1 < len(lines):
            end += 1
            depth += lines[end].count("(") - lines[end].count(")")
        if not lines[end].split("#")[0].rstrip().endswith(":"):
            continue  # a declaration, or a call
        indent, last = len(head.group(1)), end
        for number in range(end + 1, len(lines)):
            if lines[number].strip():
                if len(lines[number]) - len(lines[number].lstrip()) <= indent:
                    break
                last = number
        result.append((head.group(2), last - start + 1))
    return result


def functions(path: Path) -> list[tuple[str, int]]:
    """(name, lines) of the functions of a file."""
    text = path.read_text()
    return python_functions(text) if path.suffix == ".py" else cython_functions(text)


@pytest.mark.parametrize("path", source_files(), ids=relative)
def test_file_length(path: Path) -> None:
    """Lines of one file."""
    count = len(path.read_text().splitlines())
    assert count <= FILE_LINES_HARD, f"{relative(path)} has {count} lines: split it by subject"
    assert count <= FILE_LINES_SOFT or relative(path) in LONG_FILES, (
        f"{relative(path)} has {count} lines: split it, or give the reason in LONG_FILES"
    )


@pytest.mark.parametrize("path", [path for path in package_files() if path.suffix != ".h"], ids=relative)
def test_function_length(path: Path) -> None:
    """Lines of the functions of one file."""
    too_long = [
        f"{relative(path)}:{name} has {count} lines"
        for name, count in functions(path)
        if count > FUNCTION_LINES_HARD and f"{relative(path)}:{name}" not in LONG_FUNCTIONS
    ]
    assert not too_long, "\n".join(too_long)


def test_exceptions_are_still_needed() -> None:
    """An entry for a file or function that is gone, or short again, must go."""
    by_name = {relative(path): path for path in source_files()}
    for name in LONG_FILES:
        assert name in by_name and len(by_name[name].read_text().splitlines()) > FILE_LINES_SOFT, name
    for name in LONG_FUNCTIONS:
        file_name, function = name.split(":")
        assert file_name in by_name, name
        assert (
            max((n for f, n in functions(by_name[file_name]) if f == function), default=0)
            > FUNCTION_LINES_HARD
        )


def test_the_reader_of_cython_functions() -> None:
    """The measuring by indentation is right on the forms in use."""
    text = (
        "cdef class A:\n"
        "    cdef int first(self, int a,\n"
        "                   int b) except -1 nogil:\n"
        "        return 1\n"
        "\n"
        "    def second(self):\n"
        "        return 2\n"
        "cdef int declared(int a) noexcept\n"
        "cdef inline int third(int a) noexcept nogil:\n"
        "    if a:\n"
        "        return 1\n"
        "    return 2\n"
    )
    assert cython_functions(text) == [("first", 3), ("second", 2), ("third", 4)]
