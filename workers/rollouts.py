"""Rollouts of a forecast's member groups, advanced together, with noise drawn and results copied in parallel."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.noise import ForecastNoise
from models.rollout import Stepper, rollout
from weather.initial_state import InitialState
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from workers.noise_ahead import Piece, draw_ahead

Fetch = Callable[[], NDArray[np.float32]]
"""Wait for a copy to finish and return it: float32 (member, variable, latitude, longitude)."""

_BYTES_OF_THREAD = 2**21
"""Bytes of a group's noise at which another thread is worth its turns of the interpreter."""


@dataclass(frozen=True)
class DeviceStates:
    """States on a device: float32 (member, variable, latitude, longitude), and on CUDA the event that follows them."""

    states: Tensor
    computed: torch.cuda.Event | None = None

    def tensor(self) -> Tensor:
        """Return the states, for use on the current stream of this thread, which waits until they are computed."""
        if self.computed is not None:
            stream = torch.cuda.current_stream(self.states.device)
            stream.wait_event(self.computed)
            self.states.record_stream(stream)
        return self.states


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
    """

    def __init__(
        self,
        forecaster: Stepper,
        state: InitialState,
        store: EnsembleStore,
        committed: Mapping[int, int],
        noise: ForecastNoise,
        threads: int = 1,
    ) -> None:
        self._committed, self._layout = dict(committed), store.layout
        groups = {group: (_padded_members(store.layout, group), first) for group, first in self._committed.items()}
        pieces = _pieces(self._committed, store.layout.num_lead_times)
        drawing = min(threads, max(1, store.layout.group_bytes // _BYTES_OF_THREAD))
        drawn = draw_ahead(noise, groups, pieces, threads=drawing, pinned=forecaster.device.type == "cuda")
        self._rollouts = {
            group: _rollout(forecaster, state, store, group, first, self._noise_of_group(drawn, group, first))
            for group, first in self._committed.items()
        }
        self._copies, self._uploads = HostCopies(forecaster.device), Uploads(forecaster.device)

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
            yield GroupStates(group, lead_index, *self._copies.begin(next(self._rollouts[group])[:members]))

    def _noise_of_group(self, drawn: Iterator[tuple[Piece, Tensor]], group: int, first: int) -> Iterator[Tensor]:
        """Yield the noise of a group from lead time index `first` on, of those that are drawn in turn for all groups.

        It is on its way to the device.
        """
        for lead_index in itertools.count(first):
            piece, noise = next(drawn)
            assert piece == (group, lead_index), f"noise of {piece} for {(group, lead_index)}"
            noise = self._uploads.begin(noise)
            yield noise
            del noise


class HostCopies:
    """Copy states to host memory: on CUDA by a separate stream into pinned memory; on the CPU nothing is copied."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def begin(self, states: Tensor) -> tuple[DeviceStates, Fetch]:
        """Start to copy `states`; return them, and a function for any thread, which waits for the copy and returns it.

        On the CPU the array shares memory with `states`. They may not change as long as either is used.
        """
        if self._stream is None:
            return DeviceStates(states), states.numpy
        computed = torch.cuda.current_stream(states.device).record_event()
        host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
        self._stream.wait_event(computed)
        with torch.cuda.stream(self._stream):
            host.copy_(states, non_blocking=True)
            states.record_stream(self._stream)
            copied = self._stream.record_event()

        def fetch() -> NDArray[np.float32]:
            copied.synchronize()
            return host.numpy()

        return DeviceStates(states, computed), fetch


class Uploads:
    """Copy fields to a device: on CUDA by a separate stream from pinned memory; on the CPU nothing is copied."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def begin(self, fields: Tensor) -> Tensor:
        """Start to copy `fields`, and return the copy; later work on the current stream waits for it."""
        if self._stream is None:
            return fields
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            copy = fields.to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        copy.record_stream(current)
        return copy


def _groups_without(committed: Mapping[int, int], lead_index: int) -> list[int]:
    return [group for group, number in committed.items() if lead_index >= number]


def _pieces(committed: Mapping[int, int], num_lead_times: int) -> Iterator[Piece]:
    """Yield (group, lead time index) of all that is not committed, in the order of `Rollouts.advance`."""
    for lead_index in range(min(committed.values()), num_lead_times):
        for group in _groups_without(committed, lead_index):
            yield group, lead_index


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
