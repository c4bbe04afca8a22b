"""Steps in batches as large as memory allows: halved where it runs out, and never doubled again."""

import gc

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import OutOfMemoryError
from models.rollout import Stepper

Fields = Float[Tensor, "member channel lat lon"]

_ON_CPU = "can't allocate memory"
"""What PyTorch's allocator of host memory says, in a `RuntimeError` of no class of its own."""


class Batches:
    """A stepper that gives another one at most `size` members at once.

    Noise belongs to members and steps, so a step that is tried again in halves draws nothing again; its values differ
    from the undivided ones by rounding.
    """

    def __init__(self, stepper: Stepper, size: int) -> None:
        self.spec, self.device, self.size = stepper.spec, stepper.device, size
        self._stepper = stepper

    def step(self, previous: Fields, newest: Fields, valid_time: np.datetime64, noise: Fields) -> Fields:
        """Return the states one time step after `newest`.

        Raises `OutOfMemoryError` where memory does not suffice for one member.
        """
        while True:
            parts = zip(*(fields.split(self.size) for fields in (previous, newest, noise)), strict=True)  # type: ignore[no-untyped-call]
            try:
                states = [self._stepper.step(before, now, valid_time, drawn) for before, now, drawn in parts]
                return states[0] if len(states) == 1 else torch.cat(states)
            except torch.OutOfMemoryError as error:
                detail = str(error)
            except RuntimeError as error:
                if _ON_CPU not in str(error):
                    raise
                detail = str(error)
            self._halve(min(self.size, len(newest)), detail)

    def _halve(self, size: int, detail: str) -> None:
        """Make room, outside of the handler: its traceback holds on to what did not fit."""
        if size == 1:
            raise OutOfMemoryError(
                f"A single member does not fit into the memory of {self.device}: {detail.splitlines()[0]}"
            )
        self.size = size // 2
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
