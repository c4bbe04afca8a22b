"""Limits that a process sets on itself before it parses untrusted files: memory, time, files, network and processes."""

import ctypes
import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

from weather.ingest.landlock import landlock_version, restrict_files
from weather.ingest.libraries import find_library_paths
from weather.ingest.seccomp import deny_system_calls, has_seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_MAX_OPEN_FILES = 256
_OOM_SCORE = 1000


def find_missing_protections() -> list[str]:
    """Return a sentence for each protection against untrusted files that this kernel lacks; none if all are in force.

    A protection that the kernel offers is always in force: the parser refuses to run without it.
    """
    missing = []
    if not landlock_version():
        missing.append(
            "The kernel offers no Landlock (Linux 5.13 or later), so the parser of uploads can read and write every "
            "file that the service can."
        )
    if not has_seccomp():
        missing.append(
            "The kernel offers no seccomp filters on x86-64 or arm64, so the parser of uploads can open sockets, start "
            "processes and send signals."
        )
    return missing


def confine(files: Sequence[Path], folder: Path, memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """Limit this process to reading `files` and the libraries that it has loaded, and to adding files to `folder`.

    It can reach no other file, process or network any more. The kernel kills it when its parent dies. Raises `OSError`
    if the kernel offers a protection and refuses it, and `RuntimeError` if other threads run, which would escape.
    """
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208  # names are enough
        raise RuntimeError("The parser must have one thread only when it is confined.")
    _limit_resources(memory_bytes, cpu_seconds, file_bytes)
    restrict_files([*find_library_paths(), *files], folder)
    deny_system_calls()


def _limit_resources(memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """Limit memory, CPU time and file size; the kernel kills this process first when memory is short."""
    Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        later = bound + 1 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else bound
        resource.setrlimit(kind, (bound, later))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
