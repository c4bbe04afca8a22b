"""How the C library hands out a worker's memory on the CPU."""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_OPTIONS = {_TRIM_THRESHOLD: 2**29, _MMAP_THRESHOLD: 2**25, _ARENA_MAX: 2}


def keep_freed_memory() -> bool:
    """Keep what an evaluation frees for the next one; returns whether this C library can, and was not told otherwise.

    glibc gives large blocks back to the system, and getting them anew is a page fault for every 4 kB: a twentieth of
    the time of an evaluation. Here it keeps 512 MiB, of blocks up to 32 MiB, the most it allows, and uses two heaps
    for all threads. Who sets one of its variables `MALLOC_…` has decided. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    return all(mallopt(option, value) == 1 for option, value in _OPTIONS.items())
