"""The device that a worker computes on."""

import ctypes
import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

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


def count_host_threads(device: torch.device) -> int:
    """Return how many threads draw noise, and how many write chunks, beside the computation on `device`.

    Beside a GPU that is one for each processor of this process, at most 8; beside a CPU, which they share with the
    computation, one.
    """
    return 1 if device.type == "cpu" else min(len(os.sched_getaffinity(0)), _MAX_HOST_THREADS)


def count_lanes(device: torch.device) -> int:
    """Return how many forecasts a worker computes at the same time while one does not fill `device`: two on a GPU."""
    return 2 if device.type == "cuda" else 1


def can_keep_lead_times(device: torch.device, lead_time_bytes: int) -> bool:
    """Return whether the lead times that wait for their products are kept on `device`: on GPUs with enough memory."""
    if device.type != "cuda":
        return False
    return _KEPT_LEAD_TIMES * lead_time_bytes <= _KEPT_SHARE * torch.cuda.get_device_properties(device).total_memory


def side_stream(device: torch.device, *, is_urgent: bool = False) -> AbstractContextManager[Any]:
    """Return a context, which may be entered again, in which work on a CUDA device runs beside the computation.

    If it is urgent, the device begins with it before other work that waits.
    """
    if device.type != "cuda":
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device, priority=-1 if is_urgent else 0))


_KEPT_LEAD_TIMES, _KEPT_SHARE = 8, 0.1
"""Lead times that must fit into a share of the device's memory: more than are kept, because products take some."""
_MAX_HOST_THREADS = 8
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_OPTIONS = {_TRIM_THRESHOLD: 2**29, _MMAP_THRESHOLD: 2**25, _ARENA_MAX: 2}


def shorten_turns(device: torch.device) -> None:
    """Let threads wait for the interpreter no longer than half a millisecond, beside a GPU, which waits meanwhile.

    A turn is 5 ms by default: half a time step of a small network. The setting is that of the process.
    """
    if device.type == "cuda":
        sys.setswitchinterval(0.0005)


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
