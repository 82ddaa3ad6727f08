"""Compiles hot_loops.pyx when it, or a .pxd it uses, has changed, and imports it.

It is not among the extension modules of setup.py: whoever installs the broker needs no benchmarks. The
broker's own modules must be built in place before (`python setup.py build_ext --inplace`).
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

root = Path(__file__).resolve().parents[2]
build_directory = root / "loadtests" / "out" / "build"
module_name = "loadtests.benchmarks.hot_loops"


def load_hot_loops() -> ModuleType:
    """The compiled module; takes some 15 seconds the first time."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    before = Path.cwd()
    os.chdir(root)  # Extension sources and build_dir are relative.
    try:
        extension = Extension(
            module_name,
            ["loadtests/benchmarks/hot_loops.pyx"],
            include_dirs=["shardbroker/shm"],
            extra_compile_args=["-O3", "-fno-strict-aliasing", "-Wno-unused-function"],
        )
        modules = cythonize([extension], build_dir=str(build_directory), include_path=["."], quiet=True)
        command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
        command.build_lib = command.build_temp = str(build_directory)
        command.ensure_finalized()
        command.run()
        path = Path(command.get_ext_fullpath(module_name))
    finally:
        os.chdir(before)
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module
