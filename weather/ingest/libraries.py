"""Find the files that the interpreter and its libraries may still need once a process has loaded them."""

import sqlite3  # noqa: F401  # before eccodes, which loads an older SQLite for the whole process
import sys
from pathlib import Path

import eccodes

_OWN_PACKAGES = ("storage", "weather")
_LIBRARY_CACHE = Path("/etc/ld.so.cache")


def find_library_paths() -> list[Path]:
    """Return the folders of loaded modules and shared libraries, and the definitions of ecCodes.

    Of a source tree, only the packages of the parser are among them, not the folder around them.
    """
    own = [Path(str(sys.modules[name].__file__)).parent for name in _OWN_PACKAGES if name in sys.modules]
    definitions = [Path(path) for path in str(eccodes.codes_definition_path()).split(":") if path]
    paths = {*own, *_module_folders(), *_shared_library_folders(), *definitions, _LIBRARY_CACHE}
    return sorted(path for path in paths if path.is_absolute() and path.exists())


def _module_folders() -> set[Path]:
    """Return the folders from which modules of others were loaded: the standard library and site-packages."""
    folders = set()
    for name, module in sys.modules.items():
        file = getattr(module, "__file__", None)
        if file and "." not in name and name not in _OWN_PACKAGES:
            path = Path(file)
            folders.add(path.parents[1] if path.name.startswith("__init__.") else path.parent)
    return folders


def _shared_library_folders() -> set[Path]:
    """Return the folders of the shared libraries that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    files = {Path(line.split(maxsplit=5)[5]) for line in lines if line.count("/")}
    return {file.parent for file in files if ".so" in file.suffixes or file.suffix == ".so"}
