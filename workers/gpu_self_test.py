"""Self-test of a GPU: agreement with the CPU, recorded and compiled time steps, TF32, transfers, memory and driver."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from models.compilation import Compiler
from models.graphs import CudaGraphs, Graphs
from workers.self_test import MEMBERS, Finding, Subject, check_difference, check_score

_MAX_FROM_CPU = 1e-3
"""Largest difference allowed between a GPU and the CPU, in m/s after the first time step, in float32."""
_TRANSFER_BYTES = 2**26


def run_gpu_self_test(subject: Subject) -> Iterator[Finding]:
    """Yield the findings of a CUDA device."""
    device = subject.device
    free, total = torch.cuda.mem_get_info(device)
    capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
    versions = f"compute capability {capability}, CUDA {torch.version.cuda}, driver {_driver_version()}"
    yield Finding("GPU", f"{versions}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free", True)
    yield check_against_cpu(subject)
    yield check_tf32(subject)
    yield check_recorded(subject, CudaGraphs(device))
    yield check_compiled(subject, Compiler())
    yield measure_transfers(device)


def check_against_cpu(subject: Subject) -> Finding:
    """Check that the first time step is that of the CPU, in float32."""
    on_cpu = replace(subject, device=torch.device("cpu"))
    found, expected = (each.compute_day(range(MEMBERS))[:1] for each in (subject, on_cpu))
    return check_difference("against the CPU", found, expected, _MAX_FROM_CPU)


def check_tf32(subject: Subject) -> Finding:
    """Check that TF32 has the CRPS of float32."""
    together = subject.compute_day(range(MEMBERS))
    return check_score("TF32", subject.compute_day(range(MEMBERS), precision="tf32"), together)


def check_recorded(subject: Subject, graphs: Graphs) -> Finding:
    """Check that recorded time steps have the values of those that are launched singly."""
    recorded = subject.compute_day(range(MEMBERS), graphs=graphs)
    return check_difference("recorded time steps", recorded, subject.compute_day(range(MEMBERS)))


def check_compiled(subject: Subject, compiler: Compiler) -> Finding:
    """Compile the networks in bfloat16, check that they have the CRPS of float32, and tell how long it took."""
    began = time.perf_counter()
    compiled = subject.compute_day(range(MEMBERS), precision="bfloat16", compiler=compiler)
    seconds = time.perf_counter() - began
    score = check_score("compiled, bfloat16", compiled, subject.compute_day(range(MEMBERS)))
    failure = "" if compiler.failure is None else f", but cannot be compiled: {compiler.failure}"
    return replace(score, found=f"{score.found}, after {seconds:.0f} s{failure}", is_well=score.is_well and not failure)


def measure_transfers(device: torch.device) -> Finding:
    """Measure the speed of copies to the device and back, from and to pinned memory where there is a GPU."""
    host = torch.empty(_TRANSFER_BYTES, dtype=torch.uint8, pin_memory=device.type == "cuda")
    on_device = torch.empty(_TRANSFER_BYTES, dtype=torch.uint8, device=device)
    to = _gigabytes_a_second(lambda: on_device.copy_(host, non_blocking=True), device)
    back = _gigabytes_a_second(lambda: host.copy_(on_device, non_blocking=True), device)
    return Finding("transfers", f"{to:.1f} GB/s to the device, {back:.1f} GB/s back", True)


def _gigabytes_a_second(copy: Callable[[], object], device: torch.device) -> float:
    shortest = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        copy()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        shortest = min(shortest, time.perf_counter() - began)
    return _TRANSFER_BYTES / shortest / 1e9


def _driver_version() -> str:
    """Return the version of the NVIDIA driver, or `unknown` where its file cannot be read."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return "unknown"
    return next(iter(re.findall(r"\d+\.\d+(?:\.\d+)?", text)), "unknown")
