from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray

from benchmarks.engine_peers import INIT_TIME, BareEvaluations, PlainLoop
from models.execution import Execution
from models.forecaster import Forecaster
from models.networks import Networks
from models.noise import ForecastNoise, white_noise
from models.rollout import rollout
from models.testing import tiny_networks, tiny_spec
from weather.manifest import WHITE, Sampling

CPU = torch.device("cpu")


@pytest.fixture
def networks() -> Networks:
    return tiny_networks(tiny_spec())


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The plain loop draws its initial frames from torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _initial_frames(*group_sizes: int) -> list[torch.Tensor]:
    """Return the initial frames that a plain loop draws for its groups, and seed the generator again for it."""
    torch.manual_seed(0)
    frames = [torch.randn(size, 2, 16, 32) for size in group_sizes]
    torch.manual_seed(0)
    return frames


def _engine(
    networks: Networks, frame: torch.Tensor, members: range, nfe: int, num_lead_times: int
) -> NDArray[np.float32]:
    """Return the rollout of the engine's own stepper from two equal frames: (lead time, member, channel, lat, lon)."""
    forecaster = Forecaster(networks, Sampling(solver="midpoint", nfe=nfe), CPU)
    noise = ForecastNoise.of(networks.spec, WHITE, seed=0, init_time=INIT_TIME)
    states = rollout(forecaster, (frame, frame.clone()), noise.draw(members), init_time=INIT_TIME)
    return np.stack([fields.numpy() for fields in islice(states, num_lead_times)])


def _stored(store: Path) -> NDArray[np.float32]:
    with xr.open_zarr(store, consolidated=False) as ensemble:
        return np.stack([ensemble[name].values for name in ("u10", "v10")], axis=2)


@pytest.mark.parametrize("nfe", [2, 6])
def test_the_plain_loop_computes_the_values_of_the_engine(networks: Networks, nfe: int, tmp_path: Path) -> None:
    first, second = _initial_frames(2, 2)
    PlainLoop(networks).run(tmp_path / "plain.zarr", 4, 3, nfe, group_size=2)
    stored = _stored(tmp_path / "plain.zarr")
    np.testing.assert_allclose(stored[:, :2], _engine(networks, first, range(2), nfe, 3), atol=1e-4)
    np.testing.assert_allclose(stored[:, 2:], _engine(networks, second, range(2, 4), nfe, 3), atol=1e-4)


def test_the_last_group_of_the_plain_loop_may_be_short(networks: Networks, tmp_path: Path) -> None:
    *_, last = _initial_frames(2, 2, 1)
    PlainLoop(networks).run(tmp_path / "plain.zarr", 5, 2, 2, group_size=2)
    stored = _stored(tmp_path / "plain.zarr")
    assert stored.shape == (2, 5, 2, 16, 32)
    np.testing.assert_allclose(stored[:, 4:], _engine(networks, last, range(4, 5), 2, 2), atol=1e-4)


def test_the_plain_loop_writes_one_chunk_per_lead_time_and_group_and_leaves_none_out(
    networks: Networks, tmp_path: Path
) -> None:
    PlainLoop(networks).run(tmp_path / "plain.zarr", 5, 3, 2, group_size=2)
    with xr.open_zarr(tmp_path / "plain.zarr", consolidated=False) as ensemble:
        assert ensemble.u10.encoding["chunks"] == (1, 2, 16, 32)
        assert ensemble.u10.dims == ("lead_time", "number", "latitude", "longitude")
        assert np.isfinite(ensemble.v10.values).all()


def test_the_plain_loop_returns_the_seconds_of_the_whole_run(
    networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.engine_peers.time", Ticks())
    assert PlainLoop(networks).run(tmp_path / "plain.zarr", 2, 1, 2, group_size=2) == 1.0


class Ticks:
    """A clock that advances by one second at each reading."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


class Observer:
    def __init__(self) -> None:
        self.members = Counter[str]()

    def before_evaluation(self, network: str, members: int) -> None:
        self.members[network] += members

    def before_step(self, warm_start: int, flow: int) -> None:
        raise AssertionError("no step is launched at once without graphs")


@contextmanager
def _counted(networks: Networks) -> Iterator[Counter[str]]:
    """Count the members that each network's U-Net evaluates."""
    members = Counter[str]()
    handles = [
        net.register_forward_hook(lambda _, arguments, __, name=name: members.update({name: len(arguments[0])}))
        for name, net in (("warm_start", networks.warm_start.net), ("flow", networks.flow.net))
    ]
    yield members
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(("num_groups", "num_lead_times", "nfe"), [(1, 1, 2), (2, 3, 4)])
def test_bare_evaluations_are_as_many_as_those_of_the_engine(
    networks: Networks, num_groups: int, num_lead_times: int, nfe: int
) -> None:
    observer, group = Observer(), torch.zeros(3, 2, 16, 32)
    engine = Forecaster(networks, Sampling(nfe=nfe), CPU, observer=observer)
    for _ in range(num_groups * num_lead_times):
        engine.step((group, group.clone()), INIT_TIME, white_noise(0, INIT_TIME, range(3), 0, (2, 16, 32)))
    bare = BareEvaluations(networks, Execution(), 3)
    with _counted(networks) as members:
        assert bare.run(num_groups, num_lead_times, nfe) > 0
    assert members == observer.members


def test_bare_evaluations_of_nothing_evaluate_nothing(networks: Networks) -> None:
    bare = BareEvaluations(networks, Execution(), 2)
    with _counted(networks) as members:
        bare.run(0, 5, 4)
        bare.run(3, 0, 4)
    assert not members


def test_bare_evaluations_run_in_the_precision_of_the_engine(networks: Networks) -> None:
    dtypes = []
    networks.flow.net.register_forward_hook(lambda _, __, output: dtypes.append(output.dtype))
    for precision in ("float32", "bfloat16"):
        BareEvaluations(networks, Execution(precision=precision), 2).run(1, 1, 1)
    assert dtypes == [torch.float32, torch.bfloat16]


def test_bare_evaluations_keep_no_graph_for_gradients(networks: Networks) -> None:
    tracked = []
    networks.flow.net.register_forward_hook(lambda _, __, output: tracked.append(output.requires_grad))
    BareEvaluations(networks, Execution(), 2).run(1, 1, 2)
    assert tracked == [False, False]
