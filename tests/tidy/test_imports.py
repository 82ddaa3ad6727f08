"""Property: imports and cimports go down the floors, and no library knows what it must not.

The floors stand in docs/ARCHITECTURE.md. A file of floor n may use its own box and any box of a lower floor;
`ALLOWED_SIDEWAYS` names the exceptions. The rules are read from the source text, so that .pyx and .pxd count
as well and nothing needs to be built.
"""

import re
from pathlib import Path

import pytest

from tests.tidy.tree import PACKAGE, package_files, relative

FLOORS = {
    "errors": 0, "limits": 0, "clock": 0, "log": 0, "version": 0, "hashing": 0, "same_bytes": 0,
    "arrays": 0, "decimals": 0, "digits": 0, "__init__": 0,
    "protocol": 1, "subjects": 1, "shm": 1, "storage": 1, "control": 1,
    "auth": 2, "config": 2,
    "routing": 3, "jetstream": 3, "cluster": 3, "gateways": 3, "connectors": 3,
    "acceptor": 4, "workers": 4, "streamwriter": 4,
    "cli": 5, "__main__": 5,
}  # fmt: skip
# (who, whom): on one floor, but allowed.
ALLOWED_SIDEWAYS = {
    ("__main__", "cli"),
    ("__init__", "version"),
    ("log", "version"),
    ("limits", "version"),
}
# Modules outside the project which a box must not touch, as prefixes of dotted names.
FORBIDDEN_OUTSIDE = {
    "protocol": ("socket", "asyncio", "select", "selectors", "time", "os", "threading", "mmap"),
    "subjects": ("socket", "asyncio", "select", "selectors", "time", "threading", "mmap"),
    "storage": ("socket", "asyncio", "select", "selectors"),
    "jetstream": ("socket", "asyncio", "select", "selectors", "time", "os", "threading", "mmap"),
    "routing": ("socket", "asyncio", "select", "selectors", "threading", "mmap"),
}
HTTP_MODULES = ("http.server", "httptools", "aiohttp")
ABSOLUTE_IMPORT = re.compile(r"^\s*(?:c?import)\s+([\w., \t]+?)\s*(?:\bas\s+\w+)?\s*(?:#.*)?$")
FROM_IMPORT = re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+(\(?[^#]*)")


def box_of(module: str) -> str | None:
    """``shardbroker.shm.ring`` -> ``shm``; None for what is not of this project."""
    parts = module.split(".")
    if parts[0] != "shardbroker":
        return None
    return parts[1] if len(parts) > 1 else "__init__"


def code_lines(text: str) -> list[str]:
    """Lines without those inside triple-quoted strings (a docstring may show an import)."""
    without = re.sub(r'(?s)("""|\'\'\').*?\1', lambda match: "\n" * match.group().count("\n"), text)
    return without.splitlines()


def imported_modules(text: str) -> list[tuple[int, str]]:
    """(line number, dotted module) of every import and cimport; names from the package are joined to it."""
    result = []
    for number, line in enumerate(code_lines(text), 1):
        if match := FROM_IMPORT.match(line):
            module, names = match.groups()
            result.append((number, module))
            if module == "shardbroker":
                words = re.findall(r"[\w]+(?:\s+as\s+\w+)?", names.strip("() "))
                result += [(number, f"shardbroker.{word.split()[0]}") for word in words]
        elif match := ABSOLUTE_IMPORT.match(line):
            result += [(number, name.split(" as ")[0].strip()) for name in match.group(1).split(",")]
    return [(number, module) for number, module in result if module]


def own_box(path: Path) -> str:
    """The box a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", package_files(), ids=relative)
def test_imports_go_down_only(path: Path) -> None:
    """Floors of one file."""
    box = own_box(path)
    assert box in FLOORS, (
        f"{relative(path)}: give the new box {box!r} a floor here and in docs/ARCHITECTURE.md"
    )
    wrong = []
    for number, module in imported_modules(path.read_text()):
        other = box_of(module)
        if other is None or other == box or other == "__init__":
            continue
        if FLOORS.get(other, 99) >= FLOORS[box] and (box, other) not in ALLOWED_SIDEWAYS:
            wrong.append(f"{relative(path)}:{number}: {box} must not know {other} ({module})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", package_files(), ids=relative)
def test_libraries_do_no_io(path: Path) -> None:
    """Forbidden modules of one file."""
    box = own_box(path)
    forbidden = FORBIDDEN_OUTSIDE.get(box, ())
    if "monitor" not in path.parts:
        forbidden += HTTP_MODULES
    wrong = [
        f"{relative(path)}:{number}: {box} must not use {module}"
        for number, module in imported_modules(path.read_text())
        if any(module == name or module.startswith(name + ".") for name in forbidden)
    ]
    assert not wrong, "\n".join(wrong)


def test_relative_imports_are_not_used() -> None:
    """``from .x import`` would hide the floor from this test."""
    pattern = re.compile(r"^\s*(?:from\s+\.|c?import\s+\.)")
    wrong = [
        f"{relative(path)}:{number}"
        for path in package_files()
        for number, line in enumerate(code_lines(path.read_text()), 1)
        if pattern.match(line)
    ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("line", "modules"),
    [
        ("import os, sys", ["os", "sys"]),
        ("import numpy as np", ["numpy"]),
        ("cimport shardbroker.shm.ring", ["shardbroker.shm.ring"]),
        ("from shardbroker.shm.ring cimport Ring", ["shardbroker.shm.ring"]),
        (
            "from shardbroker import limits, errors",
            ["shardbroker", "shardbroker.limits", "shardbroker.errors"],
        ),
        ("    from libc.string cimport memcpy  # why", ["libc.string"]),
        ("important = 1", []),
    ],
)
def test_the_reader_of_imports(line: str, modules: list[str]) -> None:
    """The regular expressions above are a parser, and a parser is tested."""
    assert [module for _number, module in imported_modules(line)] == modules
