"""Make files of a complete forecast anew: the metadata of its stores, its members and its summary."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.ensemble_summary import compute_summary
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.planning.plans import Plan
from jobs.settings import Settings
from models.batches import BatchedStepper
from models.checkpoint import load_checkpoint
from models.compilation import Compiler
from models.execution import Execution
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from weather.bundled import find_checkpoint
from weather.errors import CheckpointError, DamagedError
from weather.ingest.exchange import load_initial_state
from weather.manifest import Manifest, read_manifest
from weather.stores.checks import damage_of
from weather.stores.chunks import METADATA_KEY
from weather.stores.create import empty_store
from weather.stores.ensemble import EnsembleStore, encode_lead_time
from weather.stores.layout import ENSEMBLE, SUMMARY, Layout, create_ensemble_arrays, ensemble_attributes
from weather.stores.rounding import round_bits
from weather.stores.summary import encode_statistics
from weather.stores.summary_layout import SUMMARY_TITLE, SummaryLayout, create_summary_arrays, summary_attributes
from workers.device import find_device
from workers.rollouts import Rollouts

Content = tuple[str, bytes]
"""Name of a file in the folder of the forecast, and its content."""


@dataclass(frozen=True)
class Recomputation:
    """Makes files of one forecast anew, on the device and with precision, threads and compilation of its receipt."""

    settings: Settings
    record: ForecastRecord
    folder: ForecastFolder
    manifest: Manifest

    @classmethod
    def of(cls, settings: Settings, record: ForecastRecord, folder: ForecastFolder) -> Self:
        """Return the recomputation; raises `CheckpointError` unless this machine has the checkpoint of the forecast."""
        path = find_checkpoint(record.request.checkpoint, settings.storage.checkpoint_folders)
        manifest = read_manifest(path)
        if manifest.digest != record.request.checkpoint_digest:
            raise CheckpointError(f"Checkpoint `{record.request.checkpoint}` has changed since the forecast.")
        return cls(settings, record, folder, manifest)

    @cached_property
    def layout(self) -> Layout:
        """The layout of the ensemble."""
        return Plan.of(self.record.request, self.manifest).layout

    def make_metadata(self) -> Iterator[Content]:
        """Yield the metadata and the coordinates of the stores, from the attributes of one whose metadata is intact.

        Raises `DamagedError` if there is none.
        """
        attributes, is_placed = self._read_attributes()
        output = self.record.request.output
        summary = SummaryLayout(self.layout, self.record.request.summary)
        if output.members:
            rounding = {} if output.is_exact else {"warmcast_keep_bits": output.keep_bits}
            own = ensemble_attributes(attributes | rounding, self.layout, is_placed=is_placed)
            for key, content in empty_store(own, lambda root: create_ensemble_arrays(root, self.layout)).items():
                yield f"{ENSEMBLE}/{key}", content
        own = summary_attributes(attributes, summary, is_placed=is_placed)
        for key, content in empty_store(own, lambda root: create_summary_arrays(root, summary)).items():
            yield f"{SUMMARY}/{key}", content

    def make_fields(self, first: Mapping[int, int], last: int, summarised: Collection[int]) -> Iterator[Content]:
        """Compute groups up to the lead time index `last`, each from its index in `first` on, and yield their chunks.

        A group continues from the lead times before `first`, which the ensemble must hold exactly. The chunks of
        the summary follow at the lead time indices in `summarised`, for which all groups must be computed.
        """
        request = self.record.request
        state = load_initial_state(self.folder.initial_state)
        store = EnsembleStore(self.folder.store, self.layout, {})
        with self._threads_of_receipt():
            noise = ForecastNoise.of(
                self.manifest.model, self.manifest.noise, seed=request.seed, init_time=state.init_time
            )
            rollouts = Rollouts(self._load_stepper(), state, store, first, noise)
            for lead_index in range(min(first.values()), last + 1):
                groups = []
                for states in rollouts.advance(lead_index):
                    fields = states.fetch()
                    groups.append(fields)
                    yield from self._encode(states.group, lead_index, fields)
                if lead_index in summarised:
                    yield from self.make_summary(lead_index, groups)

    def make_summary(self, lead_index: int, groups: list[NDArray[np.float32]]) -> Iterator[Content]:
        """Yield the chunks of the summary at a lead time, whose fields of all groups are given."""
        layout = SummaryLayout(self.layout, self.record.request.summary)
        for key, content in encode_statistics(layout, lead_index, *compute_summary(groups, layout)):
            yield f"{SUMMARY}/{key}", content

    def read_groups(self, lead_index: int) -> list[NDArray[np.float32]]:
        """Return the fields of all groups at a lead time from the ensemble; raises `DamagedError`."""
        store = EnsembleStore(self.folder.store, self.layout, {})
        return [store.group_fields(group, lead_index) for group in range(self.layout.num_groups)]

    def _encode(self, group: int, lead_index: int, fields: NDArray[np.float32]) -> Iterator[Content]:
        output = self.record.request.output
        if output.members:
            stored = fields if output.keep_bits is None else round_bits(fields, output.keep_bits)
            for key, content in encode_lead_time(self.layout, group, lead_index, stored):
                yield f"{ENSEMBLE}/{key}", content

    def _read_attributes(self) -> tuple[dict[str, Any], bool]:
        """Return the attributes that both stores have in common, with the ensemble's title, and whether they say where.

        They are read from the first store whose metadata is intact; raises `DamagedError` if there is none.
        """
        prefix, _, _ = SUMMARY_TITLE.partition("{}")
        for store in (SUMMARY, ENSEMBLE):
            try:
                with damage_of(store):
                    attributes = json.loads((self.folder.path / store / METADATA_KEY).read_bytes())["attributes"]
            except (DamagedError, ValueError, KeyError, TypeError):
                continue
            own = {"variables", "warmcast_keep_bits"}
            common = {name: value for name, value in attributes.items() if name not in own and ":" not in name}
            is_placed = any(":" in name for name in attributes)
            return common | {"title": common["title"].removeprefix(prefix)}, is_placed
        raise DamagedError(METADATA_KEY, "is damaged in all stores")

    @property
    def _computation(self) -> Mapping[str, Any]:
        """How the first lead time was computed, as far as the receipt says so."""
        receipt = self.record.receipt or {}
        return next(iter(receipt.get("computations") or ()), receipt)

    def _load_stepper(self) -> BatchedStepper:
        path = find_checkpoint(self.record.request.checkpoint, self.settings.storage.checkpoint_folders)
        device = find_device(self.settings.worker.device)
        networks, _ = load_checkpoint(path, device)
        compiler = Compiler() if self._computation.get("compiled") else None
        execution = Execution(compiler, self._computation.get("precision") or "float32")
        forecaster = Forecaster(networks, self.record.request.sampling, device, execution)
        return BatchedStepper(forecaster, self._computation.get("batch_size") or self.record.request.group_size)

    @contextmanager
    def _threads_of_receipt(self) -> Iterator[None]:
        """Compute with as many CPU threads as the receipt says, within the block."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._computation.get("threads") or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
