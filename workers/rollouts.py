"""Rollouts of a forecast's member groups, advanced together, with noise drawn and results copied in parallel."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.noise import ForecastNoise
from models.rollout import Stepper, rollout
from weather.initial_state import InitialState
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from workers.noise_ahead import Piece, draw_ahead
from workers.transfers import DeviceStates, Fetch, Transfers

_BYTES_OF_THREAD = 2**21
"""Bytes of a group's noise at which another thread is worth its turns of the interpreter."""


@dataclass(frozen=True)
class GroupStates:
    """The states of a group at a lead time: on the device, and in host memory, where `fetch` returns them."""

    group: int
    lead_index: int
    on_device: DeviceStates
    fetch: Fetch


class Rollouts:
    """Advance member groups together: lead times in the outer loop, groups in the inner one.

    The first lead times of the whole ensemble are therefore complete early. `committed` gives the number of lead times
    of each group that `store` holds; a group continues from the last of them, as many as the context has frames.
    `noise` is that of the whole forecast; up to `threads` threads draw it, one for each 2 MB of a group.
    `transfers` are those of the process, by default new ones.
    """

    def __init__(
        self,
        forecaster: Stepper,
        state: InitialState,
        store: EnsembleStore,
        committed: Mapping[int, int],
        noise: ForecastNoise,
        threads: int = 1,
        transfers: Transfers | None = None,
    ) -> None:
        transfers = self._transfers = transfers or Transfers(forecaster.device)
        self._committed, self._layout = dict(committed), store.layout
        groups = {group: (_padded_members(store.layout, group), first) for group, first in self._committed.items()}
        pieces = _pieces(self._committed, store.layout.num_lead_times)
        drawing = min(threads, max(1, store.layout.group_bytes // _BYTES_OF_THREAD))
        drawn = draw_ahead(noise, groups, pieces, threads=drawing, pinned=forecaster.device.type == "cuda")
        self._rollouts = {
            group: _rollout(forecaster, state, store, group, first, _noise_of_group(drawn, transfers, group, first))
            for group, first in self._committed.items()
        }

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups that are advanced, in order."""
        return tuple(self._committed)

    def advance(self, lead_index: int) -> Iterator[GroupStates]:
        """Yield the states of each group that lacks this lead time.

        Call it for consecutive lead times, from the first that a group lacks, and exhaust each iterator, because the
        noise is drawn in this order.
        """
        for group in _groups_without(self._committed, lead_index):
            members = len(self._layout.group_members(group))
            yield GroupStates(group, lead_index, *self._transfers.to_host(next(self._rollouts[group])[:members]))


def _groups_without(committed: Mapping[int, int], lead_index: int) -> list[int]:
    return [group for group, number in committed.items() if lead_index >= number]


def _pieces(committed: Mapping[int, int], num_lead_times: int) -> Iterator[Piece]:
    """Yield (group, lead time index) of all that is not committed, in the order of `Rollouts.advance`."""
    for lead_index in range(min(committed.values()), num_lead_times):
        for group in _groups_without(committed, lead_index):
            yield group, lead_index


def _noise_of_group(
    drawn: Iterator[tuple[Piece, Tensor]], transfers: Transfers, group: int, first: int
) -> Iterator[Tensor]:
    """Yield the noise of a group from lead time index `first` on, of those that are drawn in turn for all groups.

    It is on its way to the device.
    """
    for lead_index in itertools.count(first):
        piece, noise = next(drawn)
        assert piece == (group, lead_index), f"noise of {piece} for {(group, lead_index)}"
        noise = transfers.to_device(noise)
        yield noise
        del noise


def _rollout(
    forecaster: Stepper, state: InitialState, store: EnsembleStore, group: int, first: int, noise: Iterator[Tensor]
) -> Iterator[Tensor]:
    """Yield the states of a group from lead time index `first` on, padded to the group size."""
    members = _padded_members(store.layout, group)
    indices = range(first - 1, first - 1 - forecaster.spec.context_frames, -1)
    frames = [_load_frame(state, store, group, index, members, forecaster.device) for index in indices]
    yield from rollout(forecaster, frames, noise, init_time=state.init_time, first_step=first)


def _padded_members(layout: Layout, group: int) -> tuple[int, ...]:
    """Return the members of a group, with the last one repeated if the group is smaller than the group size."""
    members = layout.group_members(group)
    return members + (members[-1],) * (layout.group_size - len(members))


def _load_frame(
    state: InitialState, store: EnsembleStore, group: int, lead_index: int, members: Sequence[int], device: torch.device
) -> Tensor:
    """Return the states of `members` at a lead time index; −1, −2, … are the frames of the initial state.

    Member i starts from analysis i modulo their number; a single analysis is expanded to all members, not copied. A
    stored group that is smaller than the group size is padded with its last member.
    """
    if lead_index >= 0:
        fields = store.group_fields(group, lead_index)
        return torch.from_numpy(fields[np.minimum(np.arange(len(members)), len(fields) - 1)]).to(device)
    analyses = state.frames[-1 - lead_index]
    if len(analyses) == 1:
        return torch.from_numpy(analyses[:]).to(device).expand(len(members), -1, -1, -1)
    return torch.from_numpy(analyses[[member % len(analyses) for member in members]]).to(device)
