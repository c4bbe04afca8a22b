"""How networks are evaluated: eager or compiled, in float32 or under autocast; results differ by rounding only."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils._pytree import tree_map

Precision = Literal["float32", "bfloat16", "float16"]
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """The mode in which networks are evaluated.

    `compiled` is meant for GPUs: on a CPU convolutions gain nothing, and compilation takes a minute.
    """

    compiled: bool = False
    precision: Precision = "float32"

    def compile(self, function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
        """Return `function` compiled for `device`, or unchanged if `compiled` is false.

        It is compiled once a process for each new combination of argument shapes. On CUDA it runs as a CUDA graph; its
        outputs are copied, because the next call overwrites the graph's memory.
        """
        if not self.compiled:
            return function
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        compiled = torch.compile(function, dynamic=False, mode=mode)

        def run(*arguments: Any) -> Any:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return tree_map(torch.clone, compiled(*arguments))

        return run if device.type == "cuda" else compiled

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context manager for evaluations: autocast to `precision`, or nothing for float32."""
        dtype = _DTYPES.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
