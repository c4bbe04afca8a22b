"""The rollouts of a forecast's member groups side by side, each from where its store ends."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from models.noise import member_noise
from models.rollout import Stepper, rollout
from weather.initial_state import InitialState
from weather.store import EnsembleStore
from weather.store_template import Layout
from workers.host_copies import Fetch, HostCopies
from workers.noise_ahead import NoiseAhead


@dataclass(frozen=True)
class Computed:
    """A lead time of a group; `fetch` returns float32 (member, variable, latitude, longitude)."""

    group: int
    lead_index: int
    fetch: Fetch


class Walk:
    """Carries groups on together: lead times outside, groups inside, so that whole ensembles come early.

    `committed` tells how many lead times of each group `store` has: the two before the first new one are read from it.
    """

    def __init__(
        self, forecaster: Stepper, state: InitialState, store: EnsembleStore, committed: Mapping[int, int], seed: int
    ) -> None:
        self._committed = dict(committed)
        self._layout = store.layout
        self._noise = NoiseAhead(partial(_noise, store.layout, seed, pinned=forecaster.device.type == "cuda"))
        self._rollouts = {
            group: _rollout(forecaster, state, store, group, first, seed, self._noise)
            for group, first in committed.items()
        }
        self._copies = HostCopies(forecaster.device)

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups that are carried on."""
        return tuple(self._rollouts)

    def lead_time(self, lead_index: int) -> Iterator[Computed]:
        """Yield a lead time of each group that lacks it; every one must be asked for, in order."""
        due = [group for group in self._rollouts if lead_index >= self._committed[group]]
        following = [(group, lead_index) for group in due[1:]] + [(self.groups[0], lead_index + 1)]
        for group, piece in zip(due, following, strict=False):
            self._noise.following = piece
            members = len(self._layout.group_members(group))
            yield Computed(group, lead_index, self._copies.begin(next(self._rollouts[group])[:members]))


def _rollout(
    forecaster: Stepper,
    state: InitialState,
    store: EnsembleStore,
    group: int,
    first: int,
    seed: int,
    noise: NoiseAhead,
) -> Iterator[Tensor]:
    """Yield the lead times of a group from index `first` on, of as many members as a whole group has."""
    members = _padded(store.layout, group)
    previous, newest = (
        _frame(state, store, group, index, members, forecaster.device) for index in (first - 2, first - 1)
    )
    yield from rollout(
        forecaster,
        previous,
        newest,
        members=members,
        seed=seed,
        init_time=state.init_time,
        first_step=first,
        noise=partial(noise, group),
    )


def _noise(layout: Layout, seed: int, group: int, lead_index: int, *, pinned: bool) -> Tensor:
    noise = member_noise(seed, _padded(layout, group), lead_index, (len(layout.variables), *layout.grid.shape))
    return noise.pin_memory() if pinned else noise


def _padded(layout: Layout, group: int) -> tuple[int, ...]:
    """Return the members of a group; a short one is filled up with its last member to the full batch."""
    members = layout.group_members(group)
    return members + (members[-1],) * (layout.group_size - len(members))


def _frame(
    state: InitialState, store: EnsembleStore, group: int, lead_index: int, members: Sequence[int], device: torch.device
) -> Tensor:
    """Return the states at a lead time index; −1 and −2 are the frames of the initial state, dealt out to members.

    A single analysis is expanded to all members, not copied; a stored group is filled up with its last member.
    """
    if lead_index >= 0:
        fields = store.fields(group, lead_index)
        return torch.from_numpy(fields[np.minimum(np.arange(len(members)), len(fields) - 1)]).to(device)
    analyses = state.newest if lead_index == -1 else state.previous
    if len(analyses) == 1:
        return torch.from_numpy(analyses[:]).to(device).expand(len(members), -1, -1, -1)
    return torch.from_numpy(analyses[[member % len(analyses) for member in members]]).to(device)
