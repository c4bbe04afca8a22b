"""The settings of an optimisation: number and size of the steps, AdamW, averaged weights."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from weather.schema import FrozenModel


class StepsConfig(FrozenModel):
    """The optimiser steps of a stage: their number, and the samples of each over all processes.

    Samples are taken in `accumulation` parts, of which only one is in memory at a time; the result is that of the whole
    batch.
    """

    steps: int = Field(ge=0)
    batch_size: int = Field(default=16, ge=1)
    accumulation: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check_accumulation(self) -> "StepsConfig":
        if self.batch_size % self.accumulation:
            raise ValueError(f"`accumulation` must divide `batch_size`. Got: {self.accumulation} and {self.batch_size}")
        return self


class OptimiserConfig(StepsConfig):
    """AdamW with a linear warm-up, then a cosine decay to `final_learning_rate` or a constant rate.

    The averaged weights are updated at each optimiser step, at first with a smaller decay if `ema_warmup` is set.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    final_learning_rate: float = Field(default=1e-5, ge=0)
    warmup_steps: int = Field(default=200, ge=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    ema_warmup: bool = True
