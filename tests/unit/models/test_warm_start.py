import math

import numpy as np
import pytest
import torch

from models.testing import tiny_networks, tiny_spec
from models.warm_start import blend_scale, gaussian_nll, normalised_residual, restore


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _fields(draw: torch.Generator) -> torch.Tensor:
    return torch.randn(5, 2, 4, 8, dtype=torch.float64, generator=draw)


def _std(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), value, dtype=torch.float64)


def _scale(std: float, warmth: float) -> float:
    return float(blend_scale(_std(std), torch.tensor([warmth], dtype=torch.float64))[0, 0, 0, 0])


@pytest.mark.parametrize("std", [0.01, 0.2, 0.7, 1.0, 1.6])
def test_full_warmth_scales_by_the_standard_deviation_and_none_by_one(std: float) -> None:
    assert _scale(std, 1.0) == pytest.approx(std)
    assert _scale(std, 0.0) == 1.0


@pytest.mark.parametrize("std", [0.01, 0.2, 0.5])
def test_at_low_warmth_the_scale_is_independent_of_the_standard_deviation(std: float) -> None:
    for warmth in np.linspace(0, 1 - std, 7):
        assert _scale(std, float(warmth)) == pytest.approx(1 - float(warmth) ** 2)
    for warmth in np.linspace(1 - std, 1, 7):
        assert _scale(std, float(warmth)) == pytest.approx(float(warmth) * std + 1 - float(warmth))


def test_the_scale_falls_with_warmth_where_the_standard_deviation_is_small() -> None:
    scales = [_scale(0.3, float(warmth)) for warmth in np.linspace(0, 1, 41)]
    assert np.all(np.diff(scales) < 1e-12)
    assert _scale(1.5, 0.5) > 1


def test_normalising_and_restoring_are_inverse(draw: torch.Generator) -> None:
    x, mean = _fields(draw), _fields(draw)
    scale = torch.rand(x.shape, dtype=torch.float64, generator=draw) + 0.01
    torch.testing.assert_close(restore(normalised_residual(x, mean, scale), mean, scale), x)


def test_the_likelihood_equals_that_of_torch(draw: torch.Generator) -> None:
    target, mean = _fields(draw), _fields(draw)
    std = torch.rand(target.shape, dtype=torch.float64, generator=draw) + 0.05
    expected = -torch.distributions.Normal(mean, std).log_prob(target).mean()
    torch.testing.assert_close(gaussian_nll(target, mean, std), expected)


def test_the_likelihood_is_best_at_the_true_mean_and_standard_deviation(draw: torch.Generator) -> None:
    target = 0.3 + 0.4 * torch.randn(1, 1, 100, 300, dtype=torch.float64, generator=draw)
    mean = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    log_std = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([mean, log_std], max_iter=60)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = gaussian_nll(target, mean.expand(target.shape), log_std.exp().expand(target.shape))
        loss.backward()
        return loss

    optimiser.step(closure)
    assert mean.item() == pytest.approx(0.3, abs=0.005)
    assert log_std.exp().item() == pytest.approx(0.4, abs=0.005)
    assert closure().item() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.16), abs=0.01)


def test_the_likelihood_of_a_standard_normal_at_its_mean_is_half_of_log_two_pi() -> None:
    zero, one = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert float(gaussian_nll(zero, zero, one)) == pytest.approx(0.5 * math.log(2 * math.pi))
    assert float(gaussian_nll(one, zero, one)) == pytest.approx(0.5 * math.log(2 * math.pi) + 0.5)


def test_the_likelihood_does_not_skip_missing_values() -> None:
    target = torch.zeros(1, 1, 2, 2)
    target[0, 0, 1, 1] = torch.nan
    assert gaussian_nll(target, torch.zeros_like(target), torch.ones_like(target)).isnan()


def test_the_scale_equals_its_formula_point_by_point(draw: torch.Generator) -> None:
    std = 0.01 + 2 * torch.rand(6, 2, 3, 4, dtype=torch.float64, generator=draw)
    warmth = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.99, 1.0], dtype=torch.float64)
    scale = blend_scale(std, warmth)
    for index in np.ndindex(*std.shape):
        s, w = float(std[index]), float(warmth[index[0]])
        assert float(scale[index]) == pytest.approx(w * max(s, 1 - w) + 1 - w)


def test_one_warmth_holds_for_all_members(draw: torch.Generator) -> None:
    std = 0.01 + torch.rand(3, 2, 3, 4, generator=draw)
    assert torch.equal(blend_scale(std, torch.tensor([0.7])), blend_scale(std, torch.full((3,), 0.7)))


def test_residuals_at_full_warmth_have_unit_variance_where_the_warm_start_is_right(draw: torch.Generator) -> None:
    std = 0.1 + torch.rand(1, 1, 200, 400, dtype=torch.float64, generator=draw)
    target = 3 + std * torch.randn(std.shape, dtype=torch.float64, generator=draw)
    scale = blend_scale(std, torch.ones(1, dtype=torch.float64))
    residual = normalised_residual(target, torch.full_like(std, 3), scale)
    assert float(residual.mean()) == pytest.approx(0, abs=0.02)
    assert float(residual.std()) == pytest.approx(1, abs=0.02)


@torch.inference_mode()
def test_the_mean_is_the_newest_frame_plus_the_first_outputs_and_the_deviation_the_softplus_of_the_others() -> None:
    networks = tiny_networks(tiny_spec())
    context = torch.randn(2, 8, 16, 32, generator=torch.Generator().manual_seed(0))
    mean, std = networks.warm_start(context)
    outputs = networks.warm_start.net(context)
    torch.testing.assert_close(mean, context[:, :2] + outputs[:, :2])
    torch.testing.assert_close(std, torch.log1p(torch.exp(outputs[:, 2:])))
    assert not torch.allclose(outputs[:, :2], outputs[:, 2:], atol=1e-3)


@torch.inference_mode()
def test_the_standard_deviation_never_falls_below_its_floor() -> None:
    networks = tiny_networks(tiny_spec())
    context = torch.randn(1, 8, 16, 32, generator=torch.Generator().manual_seed(0))
    _, free = networks.warm_start(context)
    floor = float(free.median())
    networks.warm_start.std_floor = floor
    _, std = networks.warm_start(context)
    torch.testing.assert_close(std, torch.maximum(free, torch.tensor(floor)))
