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
from models.execution import Execution, Precision
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from models.rollout import rollout
from weather.initial_state import InitialState
from weather.manifest import Manifest, Sampling

_MEMBERS = 8
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

    def compute_day(self, members: range, *, precision: Precision = "float32") -> NDArray[np.float32]:
        """Return the first day of a forecast of `members`: (lead time, member, variable, latitude, longitude)."""
        networks, manifest = load_checkpoint(self.checkpoint, self.device)
        forecaster = Forecaster(networks, self.sampling, self.device, Execution(precision=precision))
        frames = [
            torch.from_numpy(np.repeat(frame[:1], len(members), axis=0)).to(self.device) for frame in self.state.frames
        ]
        noise = ForecastNoise.of(manifest.model, manifest.noise, seed=0, init_time=self.state.init_time)
        states = rollout(forecaster, frames, noise.draw(members), init_time=self.state.init_time)
        return np.stack([states.cpu().numpy() for states in itertools.islice(states, self.num_steps)])


def run_self_test(subject: Subject) -> list[Finding]:
    """Check finite values, reproducibility and bfloat16, measure speed; return the findings, the total time last."""
    began = time.perf_counter()
    together = subject.compute_day(range(_MEMBERS))
    findings = [
        Finding("finite", f"{_MEMBERS} members, {subject.num_steps} lead times", bool(np.isfinite(together).all())),
        _check_repetition(subject, together),
        _check_other_process(subject, together),
        _check_single_member(subject, together),
        _check_bfloat16(subject, together),
        _measure_throughput(subject),
    ]
    return [*findings, Finding("total time", f"{time.perf_counter() - began:.1f} s", True)]


def _check_repetition(subject: Subject, together: NDArray[np.float32]) -> Finding:
    same = np.array_equal(subject.compute_day(range(_MEMBERS)), together)
    return Finding("same seed again", "bit for bit the same" if same else "differs", same)


def _check_other_process(subject: Subject, together: NDArray[np.float32]) -> Finding:
    """Check that a spawned process computes the same day; workers are spawned, because CUDA does not survive a fork."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.apply(_day_of, (subject, torch.get_num_threads()))
    return _difference("in a spawned process", other, together)


def _day_of(subject: Subject, threads: int) -> NDArray[np.float32]:
    torch.set_num_threads(threads)
    return subject.compute_day(range(_MEMBERS))


def _check_single_member(subject: Subject, together: NDArray[np.float32]) -> Finding:
    member = _MEMBERS - 1
    return _difference(f"member {member} alone", subject.compute_day(range(member, member + 1)), together[:, member:])


def _difference(name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> Finding:
    most = float(np.abs(found - expected).max())
    return Finding(name, f"differs by at most {most:.1e}, {_MAX_DIFFERENCE:g} is allowed", most <= _MAX_DIFFERENCE)


def _check_bfloat16(subject: Subject, together: NDArray[np.float32]) -> Finding:
    """Check that bfloat16 has the CRPS of float32, with member 0 as the truth and the other members as the ensemble."""
    lower = subject.compute_day(range(_MEMBERS), precision="bfloat16")
    truth = together[-1, 0]
    exact, rounded = (float(np.mean(crps_fair(fields[-1, 1:], truth))) for fields in (together, lower))
    detail = f"CRPS of a perfect model {rounded:.4f}, {exact:.4f} in float32"
    return Finding("bfloat16", detail, abs(rounded / exact - 1) <= _MAX_SCORE_CHANGE)


def _measure_throughput(subject: Subject) -> Finding:
    rates = {precision: _evaluations_per_second(subject, precision) for precision in ("float32", "bfloat16")}
    detail = ", ".join(f"{rate:.0f} in {precision}" for precision, rate in rates.items())
    return Finding("evaluations a second", detail, True)


def _evaluations_per_second(subject: Subject, precision: Any) -> float:
    subject.compute_day(range(_MEMBERS), precision=precision)
    began = time.perf_counter()
    subject.compute_day(range(_MEMBERS), precision=precision)
    return _MEMBERS * subject.num_steps * subject.sampling.network_evaluations / (time.perf_counter() - began)
