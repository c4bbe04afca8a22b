"""How networks are evaluated: eager or compiled, in float32 or under autocast; results differ by rounding only."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

from models.compilation import Compiler

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
"""`float32` rounds products as float32 on all devices; `tf32` keeps 10 bits of the factors' mantissas on a GPU."""

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

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` compiled as `Compiler.compile` does, or unchanged if there is no compiler."""
        return function if self.compiler is None else self.compiler.compile(function)

    def autocast(self, device: torch.device, *, keep_casts: bool = True) -> AbstractContextManager[Any]:
        """Return the context manager for evaluations in `precision` on `device`.

        With `keep_casts`, weights that are used several times within it are cast once. PyTorch keeps casts of all
        threads under one lock: a thread that leaves a context and one that compiles in another can wait for each other
        for ever. Only where nothing is compiled beside may casts be kept.
        """
        dtype = _DTYPES.get(self.precision)
        if dtype is not None:
            return torch.autocast(device.type, dtype, cache_enabled=keep_casts)
        return _TENSOR_FLOAT.set(allowed=self.precision == "tf32") if device.type == "cuda" else nullcontext()


class _TensorFloat:
    """Whether TF32 is allowed in products of float32, a setting of the process that evaluations in threads share.

    PyTorch allows it in convolutions by default. Evaluations that agree run beside each other; one that does not waits.
    """

    def __init__(self) -> None:
        self._condition, self._evaluations = threading.Condition(), 0
        self._allowed, self._before = False, (False, False)

    @contextmanager
    def set(self, *, allowed: bool) -> Iterator[None]:
        """Allow TF32 within the block, or forbid it; after the last of those that overlap, what was set is restored."""
        with self._condition:
            self._condition.wait_for(lambda: not self._evaluations or self._allowed == allowed)
            if not self._evaluations:
                self._allowed, self._before = allowed, _get_tensor_float()
                _set_tensor_float(allowed, allowed)
            self._evaluations += 1
        try:
            yield
        finally:
            with self._condition:
                self._evaluations -= 1
                if not self._evaluations:
                    _set_tensor_float(*self._before)
                    self._condition.notify_all()


_TENSOR_FLOAT = _TensorFloat()


def _get_tensor_float() -> tuple[bool, bool]:
    """Return whether TF32 is allowed in convolutions, and in products of matrices."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def _set_tensor_float(convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
