"""The device that a worker computes on."""

import ctypes
import os
import re

import torch

from storage.errors import ConfigurationError


def find_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is CUDA if available, else the CPU. Raises `ConfigurationError`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigurationError(f"`device` must be auto, cpu, cuda or cuda:N. Got: {name!r}.")
    if name != "cpu" and not torch.cuda.is_available():
        raise ConfigurationError(f"`device` {name!r} is not available: PyTorch finds no CUDA device. Use cpu or auto.")
    return torch.device(name)


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_OPTIONS = {_TRIM_THRESHOLD: 2**29, _MMAP_THRESHOLD: 2**25, _ARENA_MAX: 2}


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory in the process for reuse; return whether the settings took effect.

    By default glibc returns large blocks to the kernel, and each allocation after that costs a page fault per 4 kB: a
    twentieth of the time of a network evaluation. This call keeps up to 512 MiB of freed blocks of up to 32 MiB each
    (the largest that glibc accepts) and limits all threads together to two heaps. It does nothing and returns false
    with another C library, or if a `MALLOC_…` variable is in the environment. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    return all(mallopt(option, value) == 1 for option, value in _OPTIONS.items())
