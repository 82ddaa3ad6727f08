"""The list of extension modules: every ``.pyx``, and every ``.py`` that has a ``.pxd`` of its own.

``SHARDBROKER_DEBUG=1`` compiles the debug checks in (``docs/HACKING.md``); ``SHARDBROKER_SANITIZE=1``
builds with AddressSanitizer.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
DEBUG = os.environ.get("SHARDBROKER_DEBUG") == "1"
SANITIZE = os.environ.get("SHARDBROKER_SANITIZE") == "1"


def extension(source: Path) -> Extension:
    """One extension module for one source file."""
    compile_args = ["-O3", "-fno-strict-aliasing", "-Wno-unused-function"]
    link_args: list[str] = []
    if DEBUG:
        compile_args += ["-DSHARDBROKER_DEBUG=1", "-O1", "-g"]
    if SANITIZE:
        compile_args += ["-fsanitize=address,undefined", "-g", "-O1"]
        link_args += ["-fsanitize=address,undefined"]
    name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
    return Extension(
        name,
        [str(source.relative_to(ROOT))],
        include_dirs=["shardbroker/shm", "shardbroker/storage"],
        depends=[str(path.relative_to(ROOT)) for path in (ROOT / "shardbroker").rglob("*.h")],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )


def sources() -> list[Path]:
    package = ROOT / "shardbroker"
    compiled_python = [path.with_suffix(".py") for path in package.rglob("*.pxd")]
    return sorted(package.rglob("*.pyx")) + sorted(path for path in compiled_python if path.exists())


setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
        [extension(source) for source in sources()],
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": False,
        },
    ),
)
