"""Deny this process the files, TCP ports and signals of others by Landlock.

Python has no binding of Landlock, so it is called by system call numbers, which are the same on x86-64 and arm64.
"""

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_WRITE_FILE, _READ_FILE, _READ_FOLDER, _MAKE_FOLDER, _MAKE_FILE, _TRUNCATE = (
    1 << 1,
    1 << 2,
    1 << 3,
    1 << 7,
    1 << 8,
    1 << 14,
)
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
"""Rights that each version of the interface knows; these and later ones are denied where no rule grants them."""
_LATER_FILE_RIGHTS = (1 << 16) - 1
_TCP_RIGHTS, _SCOPES = 3, 3
"""Bind and connect; abstract Unix sockets and signals."""
_TCP_VERSION, _SCOPE_VERSION = 4, 6
_PATH_BENEATH = 1
_READ = _READ_FILE | _READ_FOLDER
_ADD = _READ | _WRITE_FILE | _MAKE_FOLDER | _MAKE_FILE | _TRUNCATE


def landlock_version() -> int:
    """Return the version of Landlock's interface that the kernel offers; 0 if it offers none."""
    try:
        return max(int(_system_call(_CREATE_RULESET, None, 0, 1)), 0)
    except AttributeError:  # not Linux
        return 0


def restrict_files(readable: Sequence[Path], folder: Path) -> None:
    """Deny this thread all files but `readable`; TCP ports from Linux 6.7 on, signals and Unix sockets from 6.12 on.

    Files and folders can be created and written in `folder`, but neither removed, renamed nor linked. Raises `OSError`
    if the kernel refuses a rule; does nothing if it has no Landlock.
    """
    version = landlock_version()
    if not version:
        return
    rights = _FILE_RIGHTS.get(version, _LATER_FILE_RIGHTS)
    attributes = [rights]
    if version >= _TCP_VERSION:
        attributes.append(_TCP_RIGHTS)
    if version >= _SCOPE_VERSION:
        attributes.append(_SCOPES)
    packed = struct.pack(f"{len(attributes)}Q", *attributes)
    ruleset = _check(_system_call(_CREATE_RULESET, packed, len(packed), 0), "create a ruleset")
    for path, granted in (*((path, _READ) for path in readable), (folder, _ADD)):
        possible = granted if path.is_dir() else granted & (_READ_FILE | _WRITE_FILE | _TRUNCATE)
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", rights & possible, descriptor)
        _check(_system_call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), f"allow {path}")
        os.close(descriptor)
    _check(_system_call(_RESTRICT_SELF, ruleset, 0), "restrict the process")
    os.close(ruleset)


def _system_call(*arguments: object) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(*arguments)
    return result


def _check(result: int, action: str) -> int:
    """Return the result of a system call; raise `OSError` if it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock cannot {action}")
    return result
