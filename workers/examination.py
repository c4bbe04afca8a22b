"""What can be found out about a device with a checkpoint: whether it computes right, alike and fast."""

import itertools
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.crps import crps_fair
from models.checkpoint import load_checkpoint
from models.execution import Execution, Precision
from models.forecaster import Forecaster
from models.rollout import rollout
from weather.initial_state import InitialState
from weather.manifest import Manifest, Sampling

_MEMBERS = 8
_STEPS = 4
_ALIKE = 1e-4
"""Most m/s that members may differ by over the first day between batch sizes, or between this process and another."""
_AS_GOOD = 0.02


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and whether it is well."""

    name: str
    found: str
    is_well: bool


@dataclass(frozen=True)
class Subject:
    """What is examined: a checkpoint on a device, from one initial state, in few evaluations."""

    checkpoint: Path
    device: torch.device
    state: InitialState
    sampling: Sampling

    @classmethod
    def of(cls, checkpoint: Path, manifest: Manifest, device: torch.device, state: InitialState) -> "Subject":
        """Return the subject with the fewest evaluations that the checkpoint's solver allows."""
        sampling = manifest.sampling
        return cls(checkpoint, device, state, sampling.changed(nfe=sampling.nfe // sampling.num_steps))

    def day(self, members: range, *, precision: Precision = "float32") -> NDArray[np.float32]:
        """Return the first lead times of members, (lead time, member, variable, latitude, longitude)."""
        networks, _ = load_checkpoint(self.checkpoint, self.device)
        forecaster = Forecaster(networks, self.sampling, self.device, Execution(precision=precision))
        frames = (self.state.previous[:1], self.state.newest[:1])
        previous, newest = (
            torch.from_numpy(np.repeat(frame, len(members), axis=0)).to(self.device) for frame in frames
        )
        states = rollout(forecaster, previous, newest, members=members, seed=0, init_time=self.state.init_time)
        return np.stack([states.cpu().numpy() for states in itertools.islice(states, _STEPS)])


def examine(subject: Subject) -> list[Finding]:
    """Return what was found, in the order of a person's questions."""
    began = time.perf_counter()
    together = subject.day(range(_MEMBERS))
    findings = [
        Finding("finite", f"{_MEMBERS} members, {_STEPS} lead times", bool(np.isfinite(together).all())),
        _repeated(subject, together),
        _in_another_process(subject, together),
        _alone(subject, together),
        _lower_precision(subject, together),
        _throughput(subject),
    ]
    return [*findings, Finding("examined in", f"{time.perf_counter() - began:.1f} s", True)]


def _repeated(subject: Subject, together: NDArray[np.float32]) -> Finding:
    same = np.array_equal(subject.day(range(_MEMBERS)), together)
    return Finding("same seed again", "bit for bit the same" if same else "differs", same)


def _in_another_process(subject: Subject, together: NDArray[np.float32]) -> Finding:
    """Workers are spawned, never forked: CUDA does not survive a fork."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.apply(_day_of, (subject, torch.get_num_threads()))
    return _difference("in a spawned process", other, together)


def _day_of(subject: Subject, threads: int) -> NDArray[np.float32]:
    torch.set_num_threads(threads)
    return subject.day(range(_MEMBERS))


def _alone(subject: Subject, together: NDArray[np.float32]) -> Finding:
    member = _MEMBERS - 1
    return _difference(f"member {member} alone", subject.day(range(member, member + 1)), together[:, member:])


def _difference(name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> Finding:
    most = float(np.abs(found - expected).max())
    return Finding(name, f"differs by at most {most:.1e}, {_ALIKE:g} is allowed", most <= _ALIKE)


def _lower_precision(subject: Subject, together: NDArray[np.float32]) -> Finding:
    """Score both precisions against a member that neither sees, as if it had come."""
    lower = subject.day(range(_MEMBERS), precision="bfloat16")
    truth = together[-1, 0]
    exact, rounded = (float(np.mean(crps_fair(fields[-1, 1:], truth))) for fields in (together, lower))
    told = f"CRPS of a perfect model {rounded:.4f}, {exact:.4f} in float32"
    return Finding("bfloat16", told, abs(rounded / exact - 1) <= _AS_GOOD)


def _throughput(subject: Subject) -> Finding:
    rates = {precision: _evaluations_a_second(subject, precision) for precision in ("float32", "bfloat16")}
    told = ", ".join(f"{rate:.0f} in {precision}" for precision, rate in rates.items())
    return Finding("evaluations a second", told, True)


def _evaluations_a_second(subject: Subject, precision: Any) -> float:
    subject.day(range(_MEMBERS), precision=precision)
    began = time.perf_counter()
    subject.day(range(_MEMBERS), precision=precision)
    return _MEMBERS * _STEPS * (subject.sampling.nfe + 1) / (time.perf_counter() - began)
