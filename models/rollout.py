"""The autoregressive rollout: one lead time after another, each made from the two before it."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from models.forecaster import Forecaster
from models.noise import member_noise

Fields = Float[Tensor, "member channel lat lon"]


def rollout(
    forecaster: Forecaster,
    previous: Fields,
    newest: Fields,
    *,
    members: Sequence[int],
    seed: int,
    init_time: np.datetime64,
    first_step: int = 0,
) -> Iterator[Fields]:
    """Yield the states of `members` at lead time index `first_step`, `first_step` + 1, … without end.

    `previous` and `newest` are the two states before the first one yielded: the initial state's frames, or, to go on
    with a forecast, its two last lead times. All are float32 on the forecaster's device, in physical units.
    """
    step = first_step
    while True:
        noise = member_noise(seed, members, step, tuple(newest.shape[1:])).to(forecaster.device)  # type: ignore[arg-type]
        valid_time = init_time + step * forecaster.spec.time_step
        previous, newest = newest, forecaster.step(previous, newest, valid_time, noise)
        yield newest
        step += 1
