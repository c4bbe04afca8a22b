"""Limits that a process sets on itself before it parses untrusted files: memory, time, files and network.

Python has no binding of Landlock, so it is called by system call numbers, which are the same on x86-64 and arm64. On a
kernel without Landlock the other limits still hold.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _SIGKILL = 1, 38, 9
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1, 2, 4, 8, 1 << 14
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_LATER_FILE_RIGHTS = (1 << 16) - 1
_NETWORK_RIGHTS = 3
_PATH_BENEATH = 1


def limit_resources(memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """Limit memory, CPU time and file size of this process, and have the kernel kill it when its parent dies.

    Exceeding a limit raises an error or ends the process by a signal.
    """
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
    """Deny this process all other files and folders, and TCP; return whether the kernel supports that.

    Raises `OSError` if the kernel supports it but refuses a rule.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    all_rights = _FILE_RIGHTS.get(version, _LATER_FILE_RIGHTS)
    attributes = struct.pack("QQ", all_rights, _NETWORK_RIGHTS) if version >= 4 else struct.pack("Q", all_rights)
    ruleset = _check(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0), "create a ruleset")
    for paths, rights in ((readable, _READ_FILE | _READ_FOLDER | _EXECUTE), (writable, all_rights)):
        for path in paths:
            if path.exists():
                possible = all_rights if path.is_dir() else _READ_FILE | _WRITE_FILE | _EXECUTE | _TRUNCATE
                descriptor = os.open(path, os.O_PATH)
                rule = struct.pack("=Qi", rights & all_rights & possible, descriptor)
                _check(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), f"allow {path}")
                os.close(descriptor)
    _check(libc.syscall(_RESTRICT_SELF, ruleset, 0), "restrict the process")
    os.close(ruleset)
    return True


def _check(result: int, action: str) -> int:
    """Return the result of a system call; raise `OSError` if it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock cannot {action}")
    return result
