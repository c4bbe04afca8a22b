"""Limits that a process puts on itself before it parses what strangers sent: memory, time, files, network.

Landlock is spoken to by system calls (numbers of the generic table, the same on x86-64 and arm64): Python has no
binding. Where the kernel has none, the other limits still hold.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Sequence
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _SIGKILL = 1, 38, 9
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1, 2, 4, 8, 1 << 14
_ALL_OF_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_LATER = (1 << 16) - 1
_ALL_NETWORK = 3
_BENEATH_PATH = 1


def limit_resources(memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """Bound this process; what goes beyond ends in an error or a signal. It dies with its parent."""
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def restrict_files(readable: Sequence[Path], writable: Sequence[Path]) -> bool:
    """Leave this process only the files and folders named, and no TCP; returns whether the kernel can.

    Raises `OSError` where it can and does not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, 0, 1)
    if version < 1:
        return False
    all_rights = _ALL_OF_VERSION.get(version, _ALL_LATER)
    attributes = struct.pack("QQ", all_rights, _ALL_NETWORK) if version >= 4 else struct.pack("Q", all_rights)
    rules = _checked(libc.syscall(_CREATE, attributes, len(attributes), 0), "create")
    for paths, rights in ((readable, _READ_FILE | _READ_FOLDER | _EXECUTE), (writable, all_rights)):
        for path in paths:
            if path.exists():
                of_files = _READ_FILE | _WRITE_FILE | _EXECUTE | _TRUNCATE
                given = rights & all_rights & (all_rights if path.is_dir() else of_files)
                place = os.open(path, os.O_PATH)
                rule = struct.pack("=Qi", given, place)
                _checked(libc.syscall(_ADD, rules, _BENEATH_PATH, rule, 0), f"allow {path}")
                os.close(place)
    _checked(libc.syscall(_RESTRICT, rules, 0), "restrict")
    os.close(rules)
    return True


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {what}")
    return result
