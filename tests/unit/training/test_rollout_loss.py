from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diagnostics.scores.crps import crps_biased, crps_fair
from diagnostics.scores.spectra import spherical_spectrum, wavenumber_bands
from models.forecaster import Forecaster
from models.networks import Networks
from models.noise import advance_noise
from models.rollout import mean_rollout
from models.testing import tiny_networks, tiny_spec
from training.data.batch import Following
from training.losses import StepInputs
from training.rollout_config import RolloutConfig
from training.rollout_loss import PersistenceErrors, RolloutLoss
from training.spherical import SphericalTransform
from weather.features import feature_fields
from weather.manifest import NoiseSpec, Sampling

SPEC = tiny_spec()
SIZE, MEMBERS, STEPS, SHAPE = 3, 2, 3, (2, *SPEC.grid.grid.shape)
START = np.datetime64("2000-07-01T00", "s")
CPU = torch.device("cpu")


def _fields(seed: int, *leading: int) -> Tensor:
    return torch.randn((*leading, *SHAPE), generator=torch.Generator().manual_seed(seed))


def _inputs(steps: int = STEPS) -> StepInputs:
    def step(index: int) -> Following:
        features = feature_fields(SPEC.features, SPEC.grid.grid, START + index * SPEC.time_step)
        return Following(torch.from_numpy(features).expand(SIZE, -1, -1, -1), 5 * _fields(10 + index, SIZE))

    first, *following = [step(index) for index in range(steps)]
    frames = (5 * _fields(1, SIZE), 5 * _fields(2, SIZE))
    noise = _fields(3, SIZE, MEMBERS, steps)
    return StepInputs(frames, first.target, first.features, following=tuple(following), noise=noise)


WHITE = NoiseSpec()


def _loss(networks: Networks, inputs: StepInputs, noise: NoiseSpec = WHITE, **settings: Any) -> RolloutLoss:
    settings = {"steps": 1, "time_steps": len(inputs.steps), "members": MEMBERS} | settings
    normalise = networks.context.normalise
    targets = [normalise(step.target) for step in inputs.steps]
    errors = PersistenceErrors.of(normalise(inputs.frames[0]), targets, SPEC.grid.grid)
    weights = torch.from_numpy(SPEC.grid.grid.area_weights.astype(np.float32))[:, None]
    sampling = Sampling(solver="midpoint", nfe=2)
    return RolloutLoss(networks, RolloutConfig(**settings), sampling, noise, errors, area_weights=weights)


@pytest.mark.parametrize("scale", [1.1, {"v10": 0.8, "u10": 1.1}])
def test_its_forecasts_are_those_of_the_forecaster(scale: float | dict[str, float]) -> None:
    networks, inputs, spec = tiny_networks(SPEC), _inputs(), NoiseSpec(correlation=0.4, scale=scale)
    scales = torch.tensor(spec.scales(("u10", "v10")))[:, None, None]
    loss = _loss(networks, inputs, spec)
    forecaster = Forecaster(networks.eval(), loss.sampling, CPU)
    assert inputs.noise is not None
    frames = tuple(frame.repeat_interleave(MEMBERS, dim=0) for frame in inputs.frames)
    noise = None
    with torch.no_grad():
        for index, states in enumerate(loss._forecast(inputs)):
            noise = advance_noise(noise, inputs.noise[:, :, index].flatten(0, 1), spec.correlation_at(index, 6))
            expected = forecaster.step(frames, START + index * SPEC.time_step, scales * noise)
            frames = (expected, *frames[:-1])
            found = networks.context.denormalise(states.transpose(0, 1).flatten(0, 1))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_losses_are_scores_over_errors_of_persistence() -> None:
    networks, inputs = tiny_networks(SPEC), _inputs()
    loss = _loss(networks, inputs, alpha=0.7)
    with torch.no_grad():
        losses = loss(inputs)
        states = list(loss._forecast(inputs))
    weights = SPEC.grid.grid.area_weights[:, None]
    ratios = []
    for state, step in zip(states, inputs.steps, strict=True):
        truth, start = (networks.context.normalise(fields).numpy() for fields in (step.target, inputs.frames[0]))
        members = state.numpy()
        crps = 0.7 * crps_fair(members, truth) + 0.3 * crps_biased(members, truth)
        for variable in range(2):
            error = (np.abs(truth - start) * weights)[:, variable].mean()
            ratios.append((crps * weights)[:, variable].mean() / error)
    assert losses["crps"].item() == pytest.approx(np.mean(ratios), rel=1e-4)
    assert losses.keys() == {"crps", "harmonic_crps", "mean_error", "nll"}
    assert all(torch.isfinite(value) for value in losses.values())


def test_the_error_of_the_spread_is_that_of_each_band_of_wavenumbers() -> None:
    networks, inputs = tiny_networks(SPEC), _inputs(1)
    loss = _loss(networks, inputs, spread_weight=0.1, harmonic_weight=0)
    losses = loss(inputs)
    assert losses.keys() == {"crps", "spread_error", "mean_error", "nll"}
    (states,) = loss._forecast(inputs)
    members, truth = states.detach(), networks.context.normalise(inputs.target)
    powers = [
        spherical_spectrum(fields.numpy(), SPEC.grid.grid)
        for fields in (members - members.mean(0), truth - members.mean(0))
    ]
    units = (2 * np.arange(powers[0].shape[-1]) + 1) * loss._persistence.harmonic[0].numpy() ** 2
    variance, error = powers[0].sum(0) / (MEMBERS - 1) * (1 + 1 / MEMBERS) / units, powers[1] / units
    bands = wavenumber_bands(variance.shape[-1] - 1).values()
    squares = [np.log(variance[..., band].sum(-1) / error[..., band].sum(-1)) ** 2 for band in bands]
    assert losses["spread_error"].item() == pytest.approx(np.mean(squares), rel=0.2)


def test_the_error_of_the_spread_changes_the_spread_and_not_the_mean() -> None:
    networks, inputs = tiny_networks(SPEC), _inputs(1)
    loss = _loss(networks, inputs, spread_weight=0.1)
    (states,) = loss._forecast(inputs)
    states, truth = states.detach().requires_grad_(), networks.context.normalise(inputs.target)
    loss._score_harmonics(states, truth, 0)["spread_error"].backward()
    assert states.grad is not None
    assert states.grad.abs().max() > 0
    torch.testing.assert_close(states.grad.sum(0), torch.zeros_like(truth), atol=1e-5, rtol=0)


def test_a_warm_start_that_persists_has_the_error_of_persistence() -> None:
    inputs = _inputs()
    loss = _loss(tiny_networks(SPEC, trained=False), inputs)
    assert loss(inputs)["mean_error"].item() == pytest.approx(1.0, rel=1e-4)


def test_the_error_of_the_mean_is_that_of_the_rollout_of_h() -> None:
    networks, inputs = tiny_networks(SPEC), _inputs()
    loss = _loss(networks, inputs)
    means = islice(mean_rollout(Forecaster(networks, loss.sampling, CPU), inputs.frames, init_time=START), STEPS)
    weights, errors = torch.from_numpy(SPEC.grid.grid.area_weights)[:, None], []
    for index, (mean, step) in enumerate(zip(means, inputs.steps, strict=True)):
        squares = ((mean - step.target) / networks.context.std) ** 2 * weights
        errors.append((squares.mean((0, 2, 3)) / loss._persistence.squared[index]).mean())
    assert loss(inputs)["mean_error"].item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)


def test_gradients_pass_through_the_last_steps_alone() -> None:
    """With one step of gradients the earlier steps only make the frames, and their targets do not count."""
    networks, inputs = tiny_networks(SPEC), _inputs(2)
    loss = _loss(networks, inputs, gradient_steps=1, mean_weight=0, nll_weight=0)
    loss(inputs)["crps"].backward()
    pushed = {name: weight.grad.clone() for name, weight in networks.flow.named_parameters() if weight.grad is not None}
    networks.flow.zero_grad()
    assert pushed
    whole = _loss(networks, inputs, mean_weight=0, nll_weight=0)
    whole(inputs)["crps"].backward()
    through = {name: weight.grad for name, weight in networks.flow.named_parameters() if weight.grad is not None}
    assert any(not torch.allclose(pushed[name], through[name], rtol=1e-2) for name in pushed)
    earlier = replace(inputs, target=inputs.target + 100)
    assert loss(earlier)["crps"].item() == pytest.approx(loss(inputs)["crps"].item())
    assert whole(earlier)["crps"].item() > 2 * whole(inputs)["crps"].item()


def test_noise_on_the_frames_of_the_start_is_in_units_of_each_variable() -> None:
    networks, inputs = tiny_networks(SPEC), _inputs()
    noisy = replace(inputs, frame_noise=_fields(5, SIZE, 2))
    loss = _loss(networks, inputs, input_noise=0.25)
    assert noisy.frame_noise is not None
    for age, (found, frame) in enumerate(zip(loss._start(noisy), inputs.frames, strict=True)):
        expected = networks.context.denormalise(networks.context.normalise(frame) + 0.25 * noisy.frame_noise[:, age])
        torch.testing.assert_close(found, expected)


def test_the_squares_of_the_coefficients_are_the_spectrum() -> None:
    transform, fields = SphericalTransform(SPEC.grid.grid), _fields(7, SIZE)
    squares = transform(fields) ** 2
    twice = torch.where(torch.arange(squares.shape[-2]) > 0, 2.0, 1.0)[:, None]
    power = (squares * twice).sum((-3, -2))
    np.testing.assert_allclose(power, spherical_spectrum(fields.numpy(), SPEC.grid.grid), rtol=1e-4)
    ones = torch.ones_like(squares) * (squares > 0)
    torch.testing.assert_close(
        transform.mean_by_degree(ones)[..., 1:], torch.ones_like(power)[..., 1:], rtol=0.6, atol=0
    )


def test_the_first_steps_count_too_if_the_settings_say_so() -> None:
    networks, inputs = tiny_networks(SPEC), _inputs(4)
    loss = _loss(networks, inputs, gradient_steps=1, first_steps=1)
    assert [loss.settings.counts(index) for index in range(4)] == [True, False, False, True]
    far = [replace(step, target=step.target + 100) for step in inputs.following]
    between = replace(inputs, following=(far[0], far[1], inputs.following[2]))
    last = replace(inputs, following=(*inputs.following[:2], far[2]))
    for name in ("crps", "harmonic_crps", "mean_error"):
        values = [loss(changed)[name].item() for changed in (inputs, between, last)]
        assert values[1] == pytest.approx(values[0])
        assert values[2] > 2 * values[0]
    states = list(loss._forecast(inputs))
    assert [state.requires_grad for state in states] == [True, False, False, True]


def test_the_rollout_of_the_mean_may_be_longer_than_the_forecast() -> None:
    networks, inputs = tiny_networks(SPEC), _inputs(6)
    assert inputs.noise is not None
    inputs = replace(inputs, noise=inputs.noise[:, :, :2])
    loss = _loss(networks, inputs, time_steps=2, mean_steps=6)
    counted = [loss.settings.counts_in_mean(index) for index in range(6)]
    assert counted == [True, True, False, False, True, True]
    assert len(list(loss._forecast(inputs))) == 2
    means = islice(mean_rollout(Forecaster(networks, loss.sampling, CPU), inputs.frames, init_time=START), 6)
    weights, errors = torch.from_numpy(SPEC.grid.grid.area_weights)[:, None], []
    for index, (mean, step) in enumerate(zip(means, inputs.steps, strict=True)):
        squares = ((mean - step.target) / networks.context.std) ** 2 * weights
        errors.append((squares.mean((0, 2, 3)) / loss._persistence.squared[index]).mean())
    expected = torch.stack([error for error, counts in zip(errors, counted, strict=True) if counts]).mean()
    assert loss(inputs)["mean_error"].item() == pytest.approx(expected.item(), rel=1e-3)
