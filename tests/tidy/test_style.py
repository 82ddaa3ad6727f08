"""Property: the text of the project keeps its own rules: line length, no debts, no places of one machine."""

import ast
import re
from pathlib import Path

import pytest

from tests.tidy.tree import project_files, relative, source_files

LINE_LENGTH_MAX = 110
TEXT_SUFFIXES = (
    ".py",
    ".pyx",
    ".pxd",
    ".h",
    ".md",
    ".toml",
    ".yml",
    ".yaml",
    ".sh",
    ".service",
    ".conf",
    ".js",
    ".c",
)
TEXT_NAMES = ("Makefile", "Dockerfile", "run")
# Spelt in halves so that this file does not find itself.
DEBT_WORDS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
# Absolute paths which exist on the machine of one person or one build only.
MACHINE_PATHS = re.compile(r"(?<![\w.$}>/-])/(?:wo" r"rk|ho" r"me/\w+|ro" r"ot|Us" r"ers)/")
# In these, a line may be as long as it needs (a header of C is a table of one-line functions).
LONG_LINES_ALLOWED = (".h", ".md", ".yml", ".yaml", ".toml", ".service", ".conf")


def text_files() -> list[Path]:
    """All files that people write."""
    return [path for path in project_files() if path.suffix in TEXT_SUFFIXES or path.name in TEXT_NAMES]


@pytest.mark.parametrize("path", text_files(), ids=relative)
def test_text(path: Path) -> None:
    """Lines of one file."""
    wrong = []
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{relative(path)}:{number}"
        if len(line) > LINE_LENGTH_MAX and path.suffix not in LONG_LINES_ALLOWED:
            wrong.append(f"{place}: {len(line)} characters")
        if DEBT_WORDS.search(line):
            wrong.append(f"{place}: a debt without an issue: {line.strip()}")
        if MACHINE_PATHS.search(line):
            wrong.append(f"{place}: a path of one machine: {line.strip()}")
        if line != line.rstrip() and path.suffix != ".md":
            wrong.append(f"{place}: blanks at the end")
        if line.startswith(" ") and "\t" in line[: len(line) - len(line.lstrip())]:
            wrong.append(f"{place}: tabs and blanks mixed")
    if text and not text.endswith("\n"):
        wrong.append(f"{relative(path)}: no newline at the end")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in source_files() if path.suffix == ".py"], ids=relative)
def test_files_say_what_they_are_for(path: Path) -> None:
    """Every Python file which is not empty opens with a docstring."""
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{relative(path)} has no docstring"


@pytest.mark.parametrize(
    "path", [path for path in source_files() if path.suffix in (".pyx", ".pxd", ".h")], ids=relative
)
def test_cython_files_say_what_they_are_for(path: Path) -> None:
    """The same for Cython and C: a docstring or a comment on top."""
    text = path.read_text().lstrip()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("# cython:")]
    opening = lines[0] if lines else '"""'
    assert opening.startswith(('"""', "#", "/*", "//")), f"{relative(path)} opens with {opening!r}"


def test_names_that_say_nothing_are_not_used() -> None:
    """No ``utils``: a module is named after its subject."""
    empty_names = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [relative(path) for path in source_files() if path.stem in empty_names]
