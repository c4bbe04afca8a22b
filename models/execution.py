"""How networks are evaluated: eager or compiled, in float32 or under autocast; results differ by rounding only."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

from models.compilation import Compiler

Precision = Literal["float32", "bfloat16", "float16"]
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """The mode in which networks are evaluated; they are compiled if there is a `compiler`.

    Compilation is meant for GPUs: on a CPU convolutions gain nothing, and it takes a minute.
    """

    compiler: Compiler | None = None
    precision: Precision = "float32"

    @property
    def is_compiled(self) -> bool:
        """Whether networks are compiled: there is a compiler, and it has not failed."""
        return self.compiler is not None and self.compiler.failure is None

    def compile(self, function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
        """Return `function` compiled for `device` as `Compiler.compile` does, or unchanged if there is no compiler."""
        return function if self.compiler is None else self.compiler.compile(function, device)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context manager for evaluations: autocast to `precision`, or nothing for float32."""
        dtype = _DTYPES.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
