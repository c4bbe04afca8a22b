"""How networks are run: as they are or compiled, in float32 or under autocast; values differ by rounding only."""

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
    """`compiled` networks are for GPUs: on a CPU convolutions stay as they are, and compilation takes a minute."""

    compiled: bool = False
    precision: Precision = "float32"

    def prepared(self, function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
        """Return `function` as it is run on `device`; each new shape of its arguments is compiled once a process.

        On CUDA it is captured as a graph, and its outputs are copied out of the graph's own memory.
        """
        if not self.compiled:
            return function
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        compiled = torch.compile(function, dynamic=False, mode=mode)

        def run(*arguments: Any) -> Any:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            return tree_map(torch.clone, compiled(*arguments))

        return run if device.type == "cuda" else compiled

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context that evaluations are made in."""
        dtype = _DTYPES.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
