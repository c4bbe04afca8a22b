"""The properties of a worker's machine on which its speed depends."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A kind of device, such as `cpu` or `cuda: NVIDIA H100`, and the number of CPU threads.

    The kind must not be confused with the device itself, such as `cuda:0`.
    """

    device_kind: str
    threads: int
