"""Compile functions where the machine can; from the first failure on, evaluate them as they are."""

import atexit
import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from models.graphs import ALONE

_DIED_SECONDS = 86400.0
"""Time for which functions are not compiled after a process has ended during a compilation."""

_log = logging.getLogger(__name__)


class Compiler:
    """Compiles functions for this process, until a compilation fails.

    A compilation fails if it raises an error, such as a missing C compiler, or if it ends its process: by a crash, too
    little memory, or because it took too long. With a `folder` of records, later processes know of the latter.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._attempts = _Attempts(folder) if folder is not None else None
        self.failure: str | None = None
        """The type of the error by which a compilation failed; None if none has."""
        if self._attempts is not None and self._attempts.has_died():
            self._fail("ProcessEnded", "a process that compiled has ended before it was done")

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs `function` compiled, or as it is once a compilation has failed.

        It is compiled once a process for each new combination of argument shapes, also by a call in another thread.
        `function` must not change its arguments, because it is called again with them if its compilation fails.
        """
        compiled: Callable[..., Any] | None = None
        known: set[Any] = set()

        def run(*arguments: Any) -> Any:
            nonlocal compiled
            if self.failure is not None:
                return function(*arguments)
            shapes = tuple(argument.shape for argument in arguments if isinstance(argument, torch.Tensor))
            try:
                with ExitStack() as stack:
                    if shapes not in known:
                        stack.enter_context(ALONE)
                        if self._attempts is not None:
                            stack.enter_context(self._attempts.record())
                    if compiled is None:
                        compiled = _compile(function)  # raises if PyTorch's compiler cannot be loaded
                    outputs = compiled(*arguments)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                outputs = function(*arguments)  # raises the error if it is not of the compilation
                self._fail(type(error).__name__, str(error))
            known.add(shapes)
            return outputs

        return run

    def _fail(self, failure: str, detail: str) -> None:
        self.failure = failure
        first = next(iter(detail.strip().splitlines()), "")
        _log.warning("Networks cannot be compiled and are evaluated without: %s: %s", failure, first)


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False)


@dataclass(frozen=True)
class _Attempts:
    """Files in a folder, one for each compilation that runs; a process that dies leaves its own, without its lock."""

    folder: Path

    @contextmanager
    def record(self) -> Iterator[None]:
        """Keep a locked file in the block; a folder that cannot be written keeps none."""
        path = self.folder / f"{_prefix()}-{secrets.token_hex(4)}"
        with ExitStack() as stack:
            with suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)
                remove = partial(path.unlink, missing_ok=True)
                atexit.register(
                    remove
                )  # a process that ends by itself while another thread compiles has not died of it
                stack.callback(atexit.unregister, remove)
                stack.callback(remove)
            yield

    def has_died(self) -> bool:
        """Return whether a process with this PyTorch has ended in `record` within a day; remove older files."""
        died = False
        with suppress(OSError):
            for path in self.folder.glob(f"{_prefix()}-*"):
                if time.time() - path.stat().st_mtime > _DIED_SECONDS:
                    path.unlink(missing_ok=True)
                else:
                    died |= _is_unlocked(path)
        return died


def _prefix() -> str:
    return f"{torch.__version__}-{os.uname().machine}"


def _is_unlocked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
