"""A worker of its own with a database, a checkpoint and forecasts to run: what benchmarks of the engine share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.database import Database
from jobs.forecasts import look_up
from jobs.request import ForecastRequest
from jobs.settings import Settings
from jobs.states import Status
from jobs.submit import submit
from models.build import build_networks
from models.checkpoint import save_checkpoint
from weather.bundled import find_checkpoint
from weather.initial_state import InitialState
from weather.manifest import GridSpec, Manifest, ModelSpec, Provenance, Sampling, read_manifest
from workers.runtime import Runtime


@dataclass(frozen=True)
class Place:
    """A data folder with its database, and one checkpoint that forecasts there are made of."""

    settings: Settings
    database: Database
    checkpoint: Path
    manifest: Manifest

    @classmethod
    @contextmanager
    def of(cls, data: Path, checkpoint: Path, **settings: Any) -> Iterator["Place"]:
        """Open the place in `data`, which may be there already."""
        data.mkdir(parents=True, exist_ok=True)
        read = Settings(data=data, group_size=8, poll_seconds=0.01, **settings)
        database = Database(read.url)
        database.migrate()
        yield cls(read, database, checkpoint, read_manifest(checkpoint))
        database.close()

    def submit(self, *, members: int, num_lead_times: int, nfe: int, group_size: int = 8) -> str:
        """Submit a forecast from a state of random numbers, and return its id."""
        spec = self.manifest.model
        draw = np.random.default_rng(0)
        shape = (1, len(spec.variables), *spec.grid.grid.shape)
        previous, newest = (draw.normal(0, 5, shape).astype(np.float32) for _ in range(2))
        state = InitialState(np.datetime64("2018-09-15T00", "s"), previous, newest, ("random numbers",))
        request = ForecastRequest(
            checkpoint=str(self.checkpoint),
            checkpoint_digest=self.manifest.digest,
            initial_state_digest=state.digest,
            sources=state.sources,
            init_time="2018-09-15T00:00:00",
            lead_hours=num_lead_times * spec.time_step_hours,
            members=members,
            group_size=group_size,
            seed=0,
            sampling=self.manifest.sampling.changed(nfe=nfe),
        )
        return submit(self.database, self.settings.data, "bench", request, state, self.manifest)[0].id

    def run(self, runtime: Runtime, **forecast: int) -> tuple[str, float]:
        """Run a forecast to its end; returns its id and the seconds from its submission on."""
        began = time.perf_counter()
        forecast_id = self.submit(**forecast)
        while runtime.run():
            pass
        seconds = time.perf_counter() - began
        assert look_up(self.database, forecast_id).status == Status.SUCCESSFUL
        return forecast_id, seconds


def stand_in(folder: Path, num_lat: int, num_lon: int) -> Path:
    """Write a checkpoint of the demo's networks, untrained, on a grid with poles, and return its folder."""
    demo = read_manifest(find_checkpoint("demo", ())).model
    latitude = tuple(np.linspace(90.0, -90.0, num_lat).tolist())
    longitude = tuple((np.arange(num_lon) * 360.0 / num_lon).tolist())
    spec: ModelSpec = demo.model_copy(update={"grid": GridSpec(latitude=latitude, longitude=longitude)})
    provenance = Provenance(
        data="random numbers", attribution="Nothing was learnt.", train_years=(), validation_years=(), code_version="0",
        warm_start_steps=0, flow_steps=0, training_hours=0.0,
    )  # fmt: skip
    networks = build_networks(spec, torch.zeros(len(spec.static_fields), num_lat, num_lon))
    save_checkpoint(folder, folder.name, networks, Sampling(), provenance)
    return folder
