"""The files the tidy tests look at: what is committed or about to be, never what a build left behind."""

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "shardbroker"
SOURCE_SUFFIXES = (".py", ".pyx", ".pxd", ".h")


@functools.cache
def project_files() -> tuple[Path, ...]:
    """All files of the project, sorted; from git where there is a repository, else by walking the tree."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    except (OSError, subprocess.CalledProcessError):
        ignored = {".git", ".venv", "build", "dist", "__pycache__", "node_modules"}
        found = (path for path in ROOT.rglob("*") if not ignored.intersection(path.parts))
        return tuple(sorted(path for path in found if path.is_file() and path.suffix not in (".so", ".c")))
    paths = (ROOT / name.decode() for name in names if name)
    return tuple(sorted(path for path in paths if path.is_file()))


def source_files() -> list[Path]:
    """Python, Cython and C header files of the whole project."""
    return [path for path in project_files() if path.suffix in SOURCE_SUFFIXES]


def package_files() -> list[Path]:
    """Source files of the broker itself."""
    return [path for path in source_files() if path.is_relative_to(PACKAGE)]


def relative(path: Path) -> str:
    """The path as a reader writes it."""
    return str(path.relative_to(ROOT))
