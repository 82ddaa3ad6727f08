"""Builds the fuzz driver into a temporary folder, with AddressSanitizer and its own parser if asked for."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("_driver.pyx")
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
SANITIZE_ARGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1"]
PARSER_MODULES = ("sink", "operation", "parser", "recording_sink", "headers", "writer")


def build_driver(folder: Path) -> ModuleType:
    """The driver against the parser of this tree."""
    shutil.copy(DRIVER, folder)
    _build(folder, [("_driver", "_driver.pyx")], include=ROOT, sanitize=False)
    return load_driver(folder)


def build_sanitized(folder: Path) -> None:
    """A copy of the protocol package and the driver, all with AddressSanitizer, below ``folder``."""
    package = folder / "shardbroker"
    shutil.copytree(
        ROOT / "shardbroker" / "protocol",
        package / "protocol",
        ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"),
    )
    for name in ("__init__.py", "limits.py", "errors.py", "version.py"):
        shutil.copy(ROOT / "shardbroker" / name, package)
    shutil.copy(DRIVER, folder)
    modules = [(f"shardbroker.protocol.{name}", f"shardbroker/protocol/{name}.py") for name in PARSER_MODULES]
    _build(folder, [*modules, ("_driver", "_driver.pyx")], include=folder, sanitize=True)


def load_driver(folder: Path) -> ModuleType:
    """Import the driver that was built into ``folder``."""
    [path] = folder.glob("_driver.*.so")
    spec = importlib.util.spec_from_file_location("_driver", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sanitizer_environment(folder: Path) -> dict[str, str]:
    """The environment in which a Python can load what build_sanitized has built."""
    compiler = os.environ.get("CC", "gcc")
    library = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return {
        **os.environ,
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself keeps much until its end
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }


def _build(folder: Path, modules: list[tuple[str, str]], include: Path, sanitize: bool) -> None:
    """Run Cython and the compiler in a process of their own: setuptools changes the one it runs in."""
    script = folder / "build_driver.py"
    script.write_text(
        "from Cython.Build import cythonize\n"
        "from setuptools import Extension, setup\n"
        f"arguments = {SANITIZE_ARGS if sanitize else ['-O1']!r}\n"
        f"modules = [Extension(name, [source], extra_compile_args=arguments, extra_link_args=arguments)\n"
        f"           for name, source in {modules!r}]\n"
        f"setup(name='fuzz', py_modules=[], packages=[], ext_modules=cythonize(\n"
        f"    modules, include_path=[{str(include)!r}], compiler_directives={DIRECTIVES!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, script.name, "-q", "build_ext", "--inplace"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
