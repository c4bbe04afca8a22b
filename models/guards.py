"""What is done about a member that goes wrong: it is lost from there on, and the others do not notice."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weather.variables import Variable

Fields = Float[Tensor, "member channel lat lon"]


class RangeGuard:
    """Finds members that are not finite, or leave the valid range of a variable, without waiting for the device."""

    def __init__(self, variables: Sequence[Variable], device: torch.device) -> None:
        low, high = zip(*(variable.valid_range for variable in variables), strict=True)
        self._low, self._high = (torch.tensor(limit, dtype=torch.float32, device=device) for limit in (low, high))

    def __call__(self, states: Fields) -> Fields:
        """Return the states, with NaN everywhere in the members that are wrong anywhere."""
        least, most = states.flatten(2).aminmax(dim=2)
        sound = ((least >= self._low) & (most <= self._high)).all(dim=1)
        return torch.where(sound[:, None, None, None], states, torch.nan)
