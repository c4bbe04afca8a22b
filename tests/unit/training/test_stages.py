import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.networks import Networks, build_networks
from models.testing import tiny_networks
from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig
from training.dataset import WeatherSeries, grid_spec, load_series
from training.stages import FlowStage, Purpose, WarmStartStage, batch_indices, generator, validation_indices
from weather.manifest import ModelSpec


@pytest.fixture(scope="module")
def series(two_years: list[Path]) -> WeatherSeries:
    config = TrainingConfig.model_validate(tiny_config())
    return load_series(two_years, config.variables, config.time_step_hours, config.static_fields, config.features)


def _config(**flow: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(tiny_config(flow=tiny_config()["flow"] | flow))


def _networks(series: WeatherSeries, config: TrainingConfig, *, trained: bool) -> Networks:
    spec = ModelSpec(
        grid=grid_spec(series.grid),
        variables=series.normalisation(config.variables, config.data.train_years),
        static_fields=config.static_fields,
        features=config.features,
        warm_start=config.warm_start.network,
        flow=config.flow.network,
    )
    networks = tiny_networks(spec, trained=trained)
    networks.context.static.copy_(torch.from_numpy(series.static))
    return networks


def _normalised(networks: Networks, series: WeatherSeries, index: int) -> torch.Tensor:
    std = torch.tensor([variable.std for variable in networks.spec.variables])[:, None, None]
    return torch.from_numpy(series.frames[index]) / std


def test_the_loss_of_an_untrained_warm_start_is_the_likelihood_of_persistence(series: WeatherSeries) -> None:
    config = _config()
    networks = _networks(series, config, trained=False)
    stage = WarmStartStage(config, series, networks)
    std = math.log(2)
    for step in (0, 1, 7):
        indices = batch_indices(series.middle_indices((2000,)), 4, config.seed, step)
        changes = [_normalised(networks, series, i + 1) - _normalised(networks, series, i) for i in indices]
        squares = float(np.mean([float((change**2).mean()) for change in changes]))
        expected = 0.5 * squares / std**2 + math.log(std) + 0.5 * math.log(2 * math.pi)
        assert stage.loss(networks.warm_start, step).item() == pytest.approx(expected, rel=1e-5)


def test_validation_of_an_untrained_warm_start_gives_the_errors_of_persistence_in_physical_units(
    series: WeatherSeries,
) -> None:
    config = _config()
    networks = _networks(series, config, trained=False)
    scores = WarmStartStage(config, series, networks).validate(networks.warm_start)
    weights = np.asarray(series.grid.area_weights)[:, None]
    indices = validation_indices(series, config)
    for channel, name in enumerate(("u10", "v10")):
        errors = np.abs(series.frames[indices + 1, channel] - series.frames[indices, channel]) * weights
        assert scores[f"mae_{name}"] == pytest.approx(float(errors.mean()), rel=1e-4)
    assert set(scores) == {"nll", "mae_u10", "mae_v10"}


def test_gradients_of_the_warm_start_reach_its_weights_and_validation_leaves_none(series: WeatherSeries) -> None:
    config = _config()
    networks = _networks(series, config, trained=True)
    stage = WarmStartStage(config, series, networks)
    stage.validate(networks.warm_start)
    assert all(weight.grad is None for weight in networks.warm_start.parameters())
    torch.autograd.backward(stage.loss(networks.warm_start, 0))
    assert all(weight.grad is not None for weight in networks.warm_start.parameters())


def test_the_loss_of_the_flow_is_that_of_residuals_of_the_warm_start(series: WeatherSeries) -> None:
    """Algorithm 1 member by member; the draws are taken from the documented stream of the step."""
    config = _config()
    networks = _networks(series, config, trained=True)
    stage, step = FlowStage(config, series, networks), 5
    draws = generator(config.seed, Purpose.FLOW, step)
    warmth = torch.rand(4, generator=draws)
    torch.rand(4, generator=draws)
    x_0 = torch.randn(4, 2, 16, 32, generator=draws)
    t = torch.clamp(1 / (1 + torch.exp(1.2 * torch.randn(4, generator=draws) - 1.2)), 1e-4, 1)
    errors = []
    with torch.no_grad():
        for row, index in enumerate(batch_indices(series.middle_indices((2000,)), 4, config.seed, step)):
            batch, w = series.batch(np.array([index])), float(warmth[row])
            context = networks.context((batch.newest, batch.previous), batch.features)
            mean, std = networks.warm_start(context)
            scale = w * torch.maximum(std, torch.tensor(1 - w)) + 1 - w
            x_1 = (_normalised(networks, series, index + 1)[None] - mean) / scale
            x_t = t[row] * x_1 + (1 - t[row]) * x_0[row]
            velocity = networks.flow(x_t, t[row : row + 1], warmth[row : row + 1], context, mean, scale)
            errors.append(float(((velocity - x_1 + x_0[row]) ** 2).mean()))
        assert stage.loss(networks.flow, step).item() == pytest.approx(np.mean(errors), rel=1e-4)


class WarmthRecorder(torch.nn.Module):
    """A flow network that records the warmth of each sample and returns no velocity."""

    def __init__(self) -> None:
        super().__init__()
        self.warmth: list[float] = []

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, warmth: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        self.warmth += warmth.tolist()
        return torch.zeros_like(x_t)


def _drawn_warmth(series: WeatherSeries, monkeypatch: pytest.MonkeyPatch, **flow: Any) -> np.ndarray[Any, Any]:
    config, recorder = _config(**flow), WarmthRecorder()
    stage = FlowStage(config, series, _networks(series, config, trained=False))
    monkeypatch.setattr("training.stages.flow_matching_loss", _loss_of_any_net)
    for step in range(100):
        stage.loss(recorder, step)
    return np.array(recorder.warmth)


def _loss_of_any_net(
    net: torch.nn.Module, x_0: torch.Tensor, x_1: torch.Tensor, t: torch.Tensor, *conditions: torch.Tensor
) -> torch.Tensor:
    """Stand in for `flow_matching_loss`, whose types are checked in tests, with a net of another class."""
    loss: torch.Tensor = net(x_1, t, *conditions).mean()
    return loss


def test_warmth_is_drawn_uniformly(series: WeatherSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    warmth = np.sort(_drawn_warmth(series, monkeypatch))
    assert np.abs(warmth - (np.arange(len(warmth)) + 0.5) / len(warmth)).max() < 1.63 / len(warmth) ** 0.5
    assert warmth[-1] < 1


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_a_fraction_of_the_samples_has_full_warmth(
    fraction: float, series: WeatherSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmth = _drawn_warmth(series, monkeypatch, full_warmth_fraction=fraction)
    assert float((warmth == 1).mean()) == pytest.approx(fraction, abs=0.08)


def test_validation_of_the_flow_is_at_full_warmth_and_the_same_each_time(
    series: WeatherSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, recorder = _config(), WarmthRecorder()
    networks = _networks(series, config, trained=True)
    stage = FlowStage(config, series, networks)
    first = stage.validate(networks.flow)
    stage.loss(networks.flow, 3)
    assert stage.validate(networks.flow) == first
    monkeypatch.setattr("training.stages.flow_matching_loss", _loss_of_any_net)
    stage.validate(recorder)
    assert recorder.warmth == [1.0] * 8


def test_the_flow_is_trained_on_the_frozen_warm_start(series: WeatherSeries) -> None:
    config = _config()
    networks = _networks(series, config, trained=True)
    stage = FlowStage(config, series, networks)
    torch.autograd.backward(stage.loss(networks.flow, 0))
    assert all(weight.grad is None for weight in networks.warm_start.parameters())
    assert all(weight.grad is not None for weight in networks.flow.parameters())


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (8, 8), (38, 38), (1000, 38)])
def test_validation_frames_are_spread_over_the_validation_years(
    samples: int, count: int, series: WeatherSeries
) -> None:
    config = TrainingConfig.model_validate(tiny_config(data=tiny_config()["data"] | {"validation_samples": samples}))
    indices, all_indices = validation_indices(series, config), series.middle_indices((2001,))
    assert len(indices) == len(set(indices.tolist())) == count
    assert set(indices.tolist()) <= set(all_indices.tolist())
    assert indices[0] == all_indices[0]
    if count > 1:
        assert indices[-1] == all_indices[-1]
        assert np.ptp(np.diff(indices)) <= 1


def test_each_validation_frame_has_the_same_weight(series: WeatherSeries) -> None:
    """33 frames are evaluated in chunks of 17 and 16."""
    config = TrainingConfig.model_validate(tiny_config(data=tiny_config()["data"] | {"validation_samples": 33}))
    networks = build_networks(_networks(series, config, trained=False).spec, torch.from_numpy(series.static))
    scores = WarmStartStage(config, series, networks).validate(networks.warm_start)
    weights = np.asarray(series.grid.area_weights)[:, None]
    indices = validation_indices(series, config)
    errors = np.abs(series.frames[indices + 1, 0] - series.frames[indices, 0]) * weights
    assert scores["mae_u10"] == pytest.approx(float(errors.mean()), rel=1e-5)


def test_each_epoch_takes_every_sample_once_in_a_new_order() -> None:
    samples = torch.arange(100, 112).numpy()
    epochs = [[batch_indices(samples, 4, 0, 3 * epoch + step) for step in range(3)] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(int(index) for batch in epoch for index in batch) == samples.tolist()
    assert any((first != second).any() for first, second in zip(*epochs, strict=True))


def test_streams_of_different_purpose_or_step_differ() -> None:
    draws = {
        tuple(torch.rand(2, generator=generator(seed, purpose, step)).tolist())
        for seed in (0, 1)
        for purpose in Purpose
        for step in (0, 1)
    }
    assert len(draws) == 16


def test_a_stream_is_a_function_of_seed_purpose_and_step_alone() -> None:
    first = torch.rand(5, generator=generator(3, Purpose.FLOW, 17))
    torch.rand(100, generator=generator(3, Purpose.FLOW, 16))
    assert torch.equal(torch.rand(5, generator=generator(3, Purpose.FLOW, 17)), first)


def test_the_streams_of_a_seed_do_not_change_between_releases() -> None:
    """A training that is resumed after an update continues with the same batches."""
    assert batch_indices(np.arange(8), 4, seed=1, step=0).tolist() == [1, 7, 0, 4]
    draws = torch.rand(2, generator=generator(1, Purpose.FLOW, 0))
    assert [round(float(draw), 5) for draw in draws] == [0.25529, 0.56092]


def test_steps_of_neighbouring_streams_are_uncorrelated() -> None:
    draws = np.stack([torch.randn(2000, generator=generator(0, Purpose.FLOW, step)).numpy() for step in range(12)])
    assert np.abs(np.corrcoef(draws) - np.eye(12)).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize(("samples", "batch_size"), [(10, 4), (11, 4), (7, 3)])
def test_an_incomplete_last_batch_of_an_epoch_is_dropped(samples: int, batch_size: int) -> None:
    steps = samples // batch_size
    epoch = np.concatenate([batch_indices(np.arange(samples), batch_size, 0, step) for step in range(steps)])
    assert len(epoch) == steps * batch_size
    assert len(set(epoch.tolist())) == len(epoch)
    following = batch_indices(np.arange(samples), batch_size, 0, steps)
    assert len(following) == batch_size


def test_samples_that_one_epoch_drops_are_taken_in_others() -> None:
    taken = np.concatenate([batch_indices(np.arange(11), 4, 0, step) for step in range(20)])
    assert set(taken.tolist()) == set(range(11))


def test_fewer_samples_than_a_batch_are_one_smaller_batch() -> None:
    assert sorted(batch_indices(np.array([5, 9, 2]), 16, 0, 0).tolist()) == [2, 5, 9]
    assert sorted(batch_indices(np.array([5, 9, 2]), 16, 0, 31).tolist()) == [2, 5, 9]


def test_batches_depend_on_the_seed_and_not_on_each_other() -> None:
    samples = np.arange(100)
    assert not np.array_equal(batch_indices(samples, 50, 0, 0), batch_indices(samples, 50, 1, 0))
    late = batch_indices(samples, 50, 0, 1001)
    assert np.array_equal(late, batch_indices(samples, 50, 0, 1001))
