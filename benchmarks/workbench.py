"""A data folder with a database and a checkpoint, in which benchmarks submit and run forecasts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.forecasts import read_forecast
from jobs.planning.plans import Plan
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.settings import Settings
from jobs.submit import submit
from models.checkpoint import save_checkpoint
from models.networks import build_networks
from weather.bundled import find_named_checkpoint
from weather.initial_state import InitialState
from weather.manifest import GridSpec, Manifest, ModelSpec, Provenance, Sampling, read_manifest
from workers.loop import Worker


@dataclass(frozen=True)
class Workbench:
    """A data folder with its database, and the checkpoint and initial state of the forecasts that run in it."""

    settings: Settings
    database: Database
    checkpoint: Path
    manifest: Manifest
    state: InitialState

    @classmethod
    @contextmanager
    def open(
        cls, data: Path, checkpoint: Path, state: InitialState | None = None, **settings: Any
    ) -> Iterator["Workbench"]:
        """Open a workbench in `data`, which is created if it is missing; the initial state is random by default."""
        data.mkdir(parents=True, exist_ok=True)
        configuration = Settings.of(data=data, group_size=8, poll_seconds=0.01, **settings)
        database = Database(configuration.storage.sql_url)
        database.migrate()
        manifest = read_manifest(checkpoint)
        yield cls(configuration, database, checkpoint, manifest, state or _random_state(manifest.model))
        database.close()

    def request(self, *, members: int, num_lead_times: int, nfe: int, group_size: int = 8) -> ForecastRequest:
        """Return the request of a forecast from the workbench's initial state."""
        return ForecastRequest(
            checkpoint=str(self.checkpoint),
            checkpoint_digest=self.manifest.digest,
            initial_state_digest=self.state.digest,
            sources=self.state.sources,
            init_time=np.datetime_as_string(self.state.init_time, "s"),
            lead_hours=num_lead_times * self.manifest.model.time_step_hours,
            members=members,
            group_size=group_size,
            seed=0,
            sampling=self.manifest.sampling.replace(solver="midpoint", nfe=nfe),
        )

    def submit(self, **forecast: int) -> str:
        """Submit a forecast to the database and return its id; the arguments are those of the method `request`."""
        request = self.request(**forecast)
        return submit(
            self.database,
            self.settings.storage.data,
            "bench",
            Plan.of(request, self.manifest),
            self.state,
            self.manifest,
        )[0].id

    def run(self, worker: Worker, **forecast: int) -> tuple[str, float]:
        """Submit a forecast and run it to its end; return its id and the seconds since its submission."""
        began = time.perf_counter()
        forecast_id = self.submit(**forecast)
        while worker.run():
            pass
        seconds = time.perf_counter() - began
        with self.database.read() as connection:
            assert read_forecast(connection, forecast_id).status == Status.SUCCESSFUL
        return forecast_id, seconds


def _random_state(spec: ModelSpec) -> InitialState:
    draw = np.random.default_rng(0)
    shape = (1, len(spec.variables), *spec.grid.grid.shape)
    frames = tuple(draw.normal(0, 5, shape).astype(np.float32) for _ in range(spec.context_frames))
    return InitialState(np.datetime64("2018-09-15T00", "s"), frames, ("random numbers",))


def write_untrained_checkpoint(folder: Path, num_lat: int, num_lon: int) -> Path:
    """Write an untrained checkpoint with the networks of `planet` on a grid with poles, and return its folder."""
    planet = read_manifest(find_named_checkpoint("planet", ())).model
    latitude = tuple(np.linspace(90.0, -90.0, num_lat).tolist())
    longitude = tuple((np.arange(num_lon) * 360.0 / num_lon).tolist())
    spec = planet.without_fits().model_copy(update={"grid": GridSpec(latitude=latitude, longitude=longitude)})
    provenance = Provenance(
        data="random numbers",
        attribution="Not trained.",
        train_years=(),
        validation_years=(),
        code_version="0",
        warm_start_steps=0,
        flow_steps=0,
        training_hours=0.0,
    )
    networks = build_networks(spec, torch.zeros(len(spec.static_fields), num_lat, num_lon))
    save_checkpoint(folder, folder.name, networks, Sampling(), provenance)
    return folder
