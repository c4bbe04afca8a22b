"""The rollout of a member group, from where its store ends."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.forecaster import Forecaster
from models.rollout import rollout
from weather.initial_state import InitialState
from weather.store import EnsembleStore


def walk(
    forecaster: Forecaster, state: InitialState, store: EnsembleStore, group: int, first: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the lead times of a group from index `first` on, float32 (member, variable, latitude, longitude).

    The lead times before are read from `store`, which must have them. A short group is padded to the full batch.
    """
    members = store.layout.group_members(group)
    padded = members + (members[-1],) * (store.layout.group_size - len(members))
    frames = [_frame(state, store, group, index, padded) for index in (first - 2, first - 1)]
    previous, newest = (_to_device(frame, len(padded), forecaster.device) for frame in frames)
    states = rollout(
        forecaster, previous, newest,
        members=padded, seed=seed, init_time=state.init_time, first_step=first,
    )  # fmt: skip
    for fields in states:
        yield fields[: len(members)].cpu().numpy()


def _frame(
    state: InitialState, store: EnsembleStore, group: int, lead_index: int, members: Sequence[int]
) -> NDArray[np.float32]:
    """Return the states at a lead time index; −1 and −2 are the frames of the initial state, dealt out to members."""
    if lead_index >= 0:
        return store.fields(group, lead_index)
    analyses = state.newest if lead_index == -1 else state.previous
    return analyses[[member % len(analyses) for member in members]]


def _to_device(frame: NDArray[np.float32], size: int, device: torch.device) -> Tensor:
    """Return a frame as a tensor of `size` members, the last one repeated where it has fewer."""
    rows = np.minimum(np.arange(size), len(frame) - 1)
    return torch.from_numpy(frame[rows]).to(device)


def nonfinite_members(members: Sequence[int], fields: NDArray[np.float32]) -> list[int]:
    """Return those of `members` whose fields, (member, variable, latitude, longitude), are not finite everywhere."""
    return [member for member, field in zip(members, fields, strict=True) if not np.isfinite(field).all()]
