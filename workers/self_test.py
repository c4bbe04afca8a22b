"""Self-test of a device with a checkpoint: finite values, reproducibility, precision and speed."""

import itertools
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.scores.crps import crps_fair
from models.checkpoint import load_checkpoint
from models.compilation import Compiler
from models.execution import Execution, Precision
from models.forecaster import Forecaster
from models.graphs import Graphs
from models.noise import ForecastNoise
from models.rollout import rollout
from weather.initial_state import InitialState
from weather.manifest import Manifest, Sampling

MEMBERS = 8
_LENGTH = np.timedelta64(24, "h")
"""Length of the forecasts; a longer time step is computed once."""
_MAX_DIFFERENCE = 1e-4
"""Largest difference allowed, in m/s over the first day, between batch sizes or between two processes."""
_MAX_SCORE_CHANGE = 0.02
"""Largest relative change allowed of the CRPS between bfloat16 and float32."""


@dataclass(frozen=True)
class Finding:
    """The result of one check, and whether the check passed."""

    name: str
    found: str
    is_well: bool


@dataclass(frozen=True)
class Subject:
    """A checkpoint on a device, an initial state, and the sampling that the checks run with."""

    checkpoint: Path
    device: torch.device
    state: InitialState
    sampling: Sampling
    time_step: np.timedelta64

    @classmethod
    def of(cls, checkpoint: Path, manifest: Manifest, device: torch.device, state: InitialState) -> "Subject":
        """Return the subject with the fewest evaluations that the checkpoint's solver allows."""
        sampling = manifest.sampling
        fewest = sampling.replace(nfe=sampling.nfe // sampling.num_steps)
        return cls(checkpoint, device, state, fewest, manifest.model.time_step)

    @property
    def num_steps(self) -> int:
        """Number of time steps in a day, at least one."""
        return max(int(_LENGTH // self.time_step), 1)

    def compute_day(
        self,
        members: range,
        *,
        precision: Precision = "float32",
        compiler: Compiler | None = None,
        graphs: Graphs | None = None,
    ) -> NDArray[np.float32]:
        """Return the first day of a forecast of `members`: (lead time, member, variable, latitude, longitude)."""
        networks, manifest = load_checkpoint(self.checkpoint, self.device)
        execution = Execution(compiler, precision)
        forecaster = Forecaster(networks, self.sampling, self.device, execution, graphs=graphs)
        frames = [
            torch.from_numpy(np.repeat(frame[:1], len(members), axis=0)).to(self.device) for frame in self.state.frames
        ]
        noise = ForecastNoise.of(manifest.model, manifest.noise, seed=0, init_time=self.state.init_time)
        states = rollout(forecaster, frames, noise.draw(members), init_time=self.state.init_time)
        return np.stack([states.cpu().numpy() for states in itertools.islice(states, self.num_steps)])


def run_self_test(subject: Subject) -> list[Finding]:
    """Check finite values, reproducibility and bfloat16, measure speed; return the findings, the total time last."""
    began = time.perf_counter()
    together = subject.compute_day(range(MEMBERS))
    findings = [
        Finding("finite", f"{MEMBERS} members, {subject.num_steps} lead times", bool(np.isfinite(together).all())),
        _check_repetition(subject, together),
        _check_other_process(subject, together),
        _check_single_member(subject, together),
        check_score("bfloat16", subject.compute_day(range(MEMBERS), precision="bfloat16"), together),
        _measure_throughput(subject),
    ]
    return [*findings, Finding("total time", f"{time.perf_counter() - began:.1f} s", True)]


def _check_repetition(subject: Subject, together: NDArray[np.float32]) -> Finding:
    same = np.array_equal(subject.compute_day(range(MEMBERS)), together)
    return Finding("same seed again", "bit for bit the same" if same else "differs", same)


def _check_other_process(subject: Subject, together: NDArray[np.float32]) -> Finding:
    """Check that a spawned process computes the same day; workers are spawned, because CUDA does not survive a fork."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.apply(_day_of, (subject, torch.get_num_threads()))
    return check_difference("in a spawned process", other, together)


def _day_of(subject: Subject, threads: int) -> NDArray[np.float32]:
    torch.set_num_threads(threads)
    return subject.compute_day(range(MEMBERS))


def _check_single_member(subject: Subject, together: NDArray[np.float32]) -> Finding:
    member = MEMBERS - 1
    return check_difference(
        f"member {member} alone", subject.compute_day(range(member, member + 1)), together[:, member:]
    )


def check_difference(
    name: str, found: NDArray[np.float32], expected: NDArray[np.float32], allowed: float = _MAX_DIFFERENCE
) -> Finding:
    """Check that no value differs by more than `allowed`, in m/s."""
    most = float(np.abs(found - expected).max())
    return Finding(name, f"differs by at most {most:.1e}, {allowed:g} is allowed", most <= allowed)


def check_score(name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> Finding:
    """Check that a day has the CRPS of one in float32, with member 0 as the truth and the others as the ensemble."""
    truth = expected[-1, 0]
    exact, rounded = (float(np.mean(crps_fair(fields[-1, 1:], truth))) for fields in (expected, found))
    detail = f"CRPS of a perfect model {rounded:.4f}, {exact:.4f} in float32"
    return Finding(name, detail, abs(rounded / exact - 1) <= _MAX_SCORE_CHANGE)


def _measure_throughput(subject: Subject) -> Finding:
    rates = {precision: _evaluations_per_second(subject, precision) for precision in ("float32", "bfloat16")}
    detail = ", ".join(f"{rate:.0f} in {precision}" for precision, rate in rates.items())
    return Finding("evaluations a second", detail, True)


def _evaluations_per_second(subject: Subject, precision: Any) -> float:
    subject.compute_day(range(MEMBERS), precision=precision)
    began = time.perf_counter()
    subject.compute_day(range(MEMBERS), precision=precision)
    return MEMBERS * subject.num_steps * subject.sampling.network_evaluations / (time.perf_counter() - began)
