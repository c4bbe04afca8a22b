"""`warmcast bench training`: samples a second of the whole training loop, compared with bare optimiser steps."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measurement import publish_results
from models.networks import build_networks
from training.config import StageKind, TrainingConfig
from training.data.standin import make_store
from training.draws import FlowDraws
from training.logs import Progress, RunLog
from training.loop import Stage, StageRun
from training.losses import StageLoss, StepInputs
from training.processes import Processes
from training.specification import specify_model
from training.stages import StageInputs, Workplace, build_step, evaluate_warm_start, record_step
from training.stopping import StopSignal
from training.train import load_data

_NEVER = 10**9
_VARIABLES = ("10m_u_component_of_wind", "10m_v_component_of_wind")


@dataclass(frozen=True)
class _Size:
    widths: tuple[int, ...]
    batch_size: int
    steps: int
    """Steps between two reports."""
    turns: int


_FULL = _Size((48, 96, 160), 16, 8, 6)
_TINY = _Size((8, 16), 4, 2, 2)


def bench_training(*, json: Path | None, tiny: bool, threads: int | None) -> dict[str, Any]:
    """Time the training loop of both networks: loader, draws, clipping, averaged weights and log, validation apart.

    Frames are streamed from a store of WeatherBench 2's layout at 64 × 32. `loop_ratio` is the samples a second of the
    loop over those of forward, backward and AdamW's step alone on random tensors, the smaller one of the two stages;
    both are timed alternately in the same run. `tiny` makes everything small for tests; its results mean nothing.
    """
    if threads:
        torch.set_num_threads(threads)
    size = _TINY if tiny else _FULL
    stages: tuple[StageKind, ...] = ("warm_start", "flow")
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        store = Path(folder) / "era5.zarr"
        make_store(store, "64x32", first="2017-12-01", times=200, variables=_VARIABLES)
        speeds = {name: _time_stage(name, store, Path(folder) / name, size) for name in stages}
    rows = [
        {"stage": name, "steps": steps, "samples/s": speed}
        for name, both in speeds.items()
        for steps, speed in zip(("loop", "bare"), both, strict=True)
    ]
    ratios = {"loop_ratio": min(loop / bare for loop, bare in speeds.values())}
    title = f"Training on 32 × 64, batches of {size.batch_size}, {torch.get_num_threads()} threads"
    return publish_results(title, rows, ratios, json)


def _time_stage(name: StageKind, store: Path, output: Path, size: _Size) -> tuple[float, float]:
    """Run a stage, and between its reports as many bare steps; return the highest samples a second of both."""
    config = _configure(name, size)
    output.mkdir()
    with load_data(config, [store]) as data:
        networks = build_networks(
            specify_model(config, data.grid, *data.statistics(config.data.train_years)), torch.from_numpy(data.static)
        )
        work = Workplace(config, data, torch.device("cpu"), Processes(), StopSignal(), output)
        bare = _BareSteps(name, config, work)
        step = build_step(work, name, networks)
        inputs = StageInputs(work, name, evaluate_warm_start(work, networks) if name == "flow" else None)
        turns = _Turns(RunLog(output), bare, size)
        stage = Stage(
            name=name,
            seed=config.seed,
            num_steps=step.optimisers[name].config.steps,
            batch_size=size.batch_size,
            step=step,
            make_step=record_step(work, step),
            inputs=inputs.read,
            validate=lambda _: {},
            keep_batch=inputs.keep,
            state_path=output / "state.safetensors",
            save_every=_NEVER,
            validate_every=_NEVER,
            report_every=size.steps,
        )
        StageRun(stage, work.processes, work.stop, turns.report).run()
        turns.close()
    samples = size.steps * size.batch_size
    return samples / min(turns.loop_seconds), samples / min(turns.bare_seconds)


class _Turns:
    """The seconds of the loop and of bare steps, which take turns at each report; the first turn is not counted."""

    def __init__(self, log: RunLog, bare: "_BareSteps", size: _Size) -> None:
        self._log, self._bare, self._steps = log, bare, size.steps
        self.loop_seconds, self.bare_seconds = list[float](), list[float]()
        self._started: float | None = None

    def report(self, progress: Progress) -> None:
        """Log a report, which ends a turn of the loop, and make bare steps."""
        self._log.report(progress)
        logged = time.perf_counter()
        for _ in range(self._steps):
            self._bare.step()
        ended = time.perf_counter()
        if self._started is not None:
            self.loop_seconds.append(logged - self._started)
            self.bare_seconds.append(ended - logged)
        self._started = time.perf_counter()

    def close(self) -> None:
        """Close the log."""
        self._log.close()


class _BareSteps:
    """Forward, backward and AdamW's step of one network on the same random tensors."""

    def __init__(self, name: StageKind, config: TrainingConfig, work: Workplace) -> None:
        (optimiser,) = config.stage_optimisers(name).values()
        data, size = work.data, optimiser.batch_size
        spec = specify_model(config, data.grid, *data.statistics(config.data.train_years))
        networks = build_networks(spec, torch.from_numpy(data.static))
        net = networks.warm_start if name == "warm_start" else networks.flow
        self._loss = StageLoss(networks, name)
        self._adam = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
        fields = [torch.randn(size, len(data.variables), *data.grid.shape) for _ in range(6)]
        draws = FlowDraws(fields[3], torch.rand(size), torch.rand(size))
        features = torch.randn(size, len(config.features), *data.grid.shape)
        self._inputs = StepInputs(tuple(fields[:2]), fields[2], features, draws, fields[4], fields[5].abs() + 0.1)
        if name == "warm_start":
            self._inputs = StepInputs(tuple(fields[:2]), fields[2], features)

    def step(self) -> None:
        """Make one step."""
        self._adam.zero_grad()
        (loss,) = self._loss(self._inputs).values()
        torch.autograd.backward(loss)
        self._adam.step()


def _configure(name: StageKind, size: _Size) -> TrainingConfig:
    optimiser = {"steps": size.steps * (size.turns + 1), "batch_size": size.batch_size, "learning_rate": 1e-4}
    network = {"widths": size.widths}
    return TrainingConfig.model_validate(
        {
            "name": "bench",
            "features": ["sin_latitude", "season_sin", "season_cos"],
            "data": {
                "description": "noise",
                "attribution": "invented",
                "train_years": [2017],
                "validation_years": [2018],
                "residence": "stream",
            },
            "stages": [name],
            "warm_start": {"network": network, "optimiser": optimiser},
            "flow": {"network": network | {"embedding_width": 128}, "optimiser": optimiser},
        }
    )
