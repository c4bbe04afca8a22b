"""The valid range of states: members that leave it, or are not finite, are lost."""

from collections.abc import Sequence

import torch

from models.shapes import Fields
from weather.variables import Variable


class ValidRange:
    """The valid range of each variable, on a device."""

    def __init__(self, variables: Sequence[Variable], device: torch.device) -> None:
        low, high = zip(*(variable.valid_range for variable in variables), strict=True)
        self._low, self._high = (torch.tensor(limit, dtype=torch.float32, device=device) for limit in (low, high))

    def mask_lost_members(self, states: Fields) -> Fields:
        """Return `states` with NaN in the whole of each member that is not finite or out of range at any point.

        The call does not synchronise with the device.
        """
        least, most = states.flatten(2).aminmax(dim=2)
        is_valid = ((least >= self._low) & (most <= self._high)).all(dim=1)
        return torch.where(is_valid[:, None, None, None], states, torch.nan)
