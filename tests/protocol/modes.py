"""Both ways to run the protocol modules: as extension modules, and as the Python files they are made of."""

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

PACKAGE = "shardbroker.protocol"
FOLDER = Path(__file__).parents[2] / "shardbroker" / "protocol"
# In the order of their imports: an interpreted module must find the interpreted one that it builds upon.
HOT_MODULES = ("sink", "operation", "parser", "recording_sink", "headers", "writer")


@functools.cache
def load_compiled() -> SimpleNamespace:
    """The extension modules; an AssertionError says which one is not built."""
    modules = {name: importlib.import_module(f"{PACKAGE}.{name}") for name in HOT_MODULES}
    for name, module in modules.items():
        assert not str(module.__file__).endswith(".py"), f"{name}: run setup.py build_ext --inplace first"
    return SimpleNamespace(compiled=True, **modules)


@functools.cache
def load_interpreted() -> SimpleNamespace:
    """The same modules from their ``.py`` files, next to the extension modules, which stay as they are."""
    names = [f"{PACKAGE}.{name}" for name in HOT_MODULES]
    before = {name: sys.modules.pop(name, None) for name in names}
    try:
        modules = {name: _load_file(name) for name in HOT_MODULES}
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
    return SimpleNamespace(compiled=False, **modules)


def _load_file(name: str) -> ModuleType:
    path = FOLDER / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{PACKAGE}.{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


LOADERS = {"compiled": load_compiled, "interpreted": load_interpreted}
