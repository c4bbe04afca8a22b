"""Write the results of one claim: each lead time of a group is staged, committed to its row, then published."""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch

from diagnostics.finite_members import Apply, apply_to_finite
from jobs.dispatching import leases
from jobs.dispatching.leases import Lease
from jobs.rows.database import Database
from weather.stores.restart import RestartStore
from workers.background import BackgroundWriter
from workers.chunk_writers import ChunkWriters, StagedLeadTime, lead_times_ahead
from workers.claimed_forecast import ClaimedForecast, publish_committed
from workers.device import can_keep_lead_times
from workers.lead_times import StagedSummary, begin_summary
from workers.rollouts import GroupStates
from workers.timing import PhaseMarks, StepClock

_MIN_SUMMARY_THREADS = 4
"""Threads that write the fields of a summary, at least: most of their time they wait for the disk."""
_PRODUCTS_AHEAD = 8
"""Lead times whose products may wait for their rows; the more wait, the more are saved in one transaction."""


@dataclass(frozen=True)
class _Piece:
    """A lead time of a group that is being staged, the times of its phases, and how it was computed."""

    staged: StagedLeadTime
    marks: PhaseMarks
    computation: Mapping[str, Any]

    @property
    def lead_index(self) -> int:
        return self.staged.states.lead_index

    @property
    def group(self) -> int:
        return self.staged.states.group


@dataclass(frozen=True)
class _Products:
    """The computed diagnostics of a lead time, and its summary that is being written, unless it is complete."""

    lead_index: int
    diagnostics: Mapping[str, Any]
    summary: StagedSummary | None

    @property
    def is_written(self) -> bool:
        return self.summary is None or self.summary.is_written


class Attempt:
    """Write the lead times that one claim computes, under its leases, while the next ones are computed.

    `threads` threads encode and write chunks; one commits rows and publishes, in order. One computes the products of
    complete lead times by `apply`, in the context `beside`, on `device` if there is room for some lead times more. As
    many threads again, but at least 4, encode and write them, and one saves their rows. Data reaches the disk before
    its row, and its row before it is published.
    """

    def __init__(
        self,
        database: Database,
        forecast: ClaimedForecast,
        claimed: Sequence[Lease],
        lease_seconds: float,
        clock: StepClock,
        *,
        threads: int,
        device: torch.device,
        apply: Apply = apply_to_finite,
        beside: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._apply, self._beside = apply, beside or nullcontext()
        self._database, self._forecast, self._lease_seconds, self._clock = database, forecast, lease_seconds, clock
        store, folder = forecast.store, forecast.folder
        self._leases = {lease.group: lease for lease in claimed}
        for lease in claimed:
            publish_committed(store, folder, lease.group, lease.committed)
        self._staging = {lease.group: store.open_staging(folder.attempt(lease.group, lease.epoch)) for lease in claimed}
        self._is_shared = len(claimed) < store.layout.num_groups
        self._lead_times = forecast.lead_times()
        self._computation: Mapping[str, Any] = {}
        self._keeps_on_device = can_keep_lead_times(device, store.layout.num_groups * store.layout.group_bytes)
        self._stack = ExitStack()
        self._chunks = ChunkWriters(threads, partial(clock.phase, "encode"))
        self._removes_frames = isinstance(store, RestartStore)
        depth = 1 if self._removes_frames else lead_times_ahead(store.layout.group_bytes, device)
        self._summaries = ThreadPoolExecutor(max(threads, _MIN_SUMMARY_THREADS), "summaries")
        self._completions = BackgroundWriter[_Products](
            self._complete_products, _PRODUCTS_AHEAD, lambda each: each.is_written
        )
        self._products = BackgroundWriter[int](self._write_all_products)
        self._commits = BackgroundWriter[_Piece](self._commit, depth, lambda piece: piece.staged.is_written)

    def __enter__(self) -> Self:
        """Start the threads."""
        for context in (self._chunks, self._summaries, self._completions, self._products, self._commits):
            self._stack.enter_context(context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish all that was put, and end the threads; after an exception, drop what is not being written."""
        self._stack.__exit__(kind, error, trace)

    def put(self, computed: GroupStates, marks: PhaseMarks, computation: Mapping[str, Any]) -> None:
        """Begin to write a lead time of a group; wait while too many wait for their output.

        `computation` describes how it was computed, for the receipt. Raises `LeaseLostError` if another worker has
        taken over a group or the forecast has been cancelled, and any other error by which writing has failed.
        """
        staged = self._chunks.begin(computed, self._staging[computed.group])
        with self._clock.phase("wait"):
            self._commits.put(_Piece(staged, marks, computation))

    def _commit(self, pieces: Sequence[_Piece]) -> None:
        """Commit lead times of groups in one transaction, publish them, and hand on those that are due for products."""
        fields = []
        for piece in pieces:
            fields.append(piece.staged.complete())
            self._clock.record(piece.marks)
        with self._clock.phase("write"):
            for piece in {piece.group: piece for piece in pieces}.values():
                piece.staged.sync()
            due = deque(self._commit_rows(pieces))
            for piece in pieces:
                self._forecast.store.publish(piece.staged.store.path, piece.group, piece.lead_index)
        for piece, values in zip(pieces, fields, strict=True):
            while due and due[0] < piece.lead_index:  # before too many lead times are kept in memory
                self._products.put(due.popleft())
            kept = piece.staged.states.on_device if self._keeps_on_device else values
            self._lead_times.keep(piece.group, piece.lead_index, kept)
        for lead_index in due:
            self._products.put(lead_index)
        if self._removes_frames:  # so that few exact lead times are on the disk at any time
            self._products.drain()
            self._completions.drain()

    def _commit_rows(self, pieces: Sequence[_Piece]) -> list[int]:
        """Commit lead times of groups to their rows; return the lead times whose products this worker has to write."""
        for piece in pieces:
            self._record_computation(piece.computation, piece.lead_index)
        due: list[int] = []
        with self._database.write() as connection:
            for piece in pieces:
                lease, committed = self._leases[piece.group], piece.lead_index + 1
                due += leases.commit(connection, lease, committed, self._lease_seconds, shared=self._is_shared)
        return due

    def _record_computation(self, computation: Mapping[str, Any], lead_index: int) -> None:
        """Add a way of computing to the folder, with the lead time where it was first used; once for each way."""
        if computation != self._computation:
            first = {"first_lead_hours": self._forecast.store.layout.lead_hours(lead_index)}
            self._forecast.folder.record_computation(computation, first)
            self._computation = computation

    def _write_all_products(self, lead_indices: Sequence[int]) -> None:
        for lead_index in lead_indices:
            with torch.inference_mode(), self._beside:
                self._write_products(lead_index)

    def _write_products(self, lead_index: int) -> None:
        """Compute the diagnostics and the summary of a lead time that all groups have committed, and begin to write."""
        forecast, lead_times = self._forecast, self._lead_times
        with self._clock.phase("diagnostics"):
            figures = forecast.compute_diagnostics(lead_times, lead_index, self._apply)
            forecast.check_alerts(self._database, lead_times, lead_index)
        with self._clock.phase("summary"):
            summary = begin_summary(forecast.summary, lead_times, lead_index, self._summaries, self._apply)
        lead_times.discard(lead_index)
        self._completions.put(_Products(lead_index, figures, summary))

    def _complete_products(self, products: Sequence[_Products]) -> None:
        """Save the diagnostics of lead times in one transaction, and wait for their summaries."""
        with self._clock.phase("products"):
            figures = {each.lead_index: each.diagnostics for each in products}
            self._forecast.save_diagnostics(self._database, figures)
            for each in products:
                if each.summary is not None:
                    each.summary.complete()
                self._forecast.discard_frames_before(each.lead_index)
