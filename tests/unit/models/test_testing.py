from pathlib import Path

import pytest
import torch

from models.checkpoint import load_checkpoint
from models.solvers import power_grid, solve
from models.testing import GaussianField, tiny_networks, tiny_spec, write_tiny_checkpoint


@pytest.mark.parametrize("std", [0.3, 1.0, 2.0])
def test_the_gaussian_field_carries_noise_to_the_standard_deviation_of_its_target(std: float) -> None:
    x_0 = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(1, 1, 2, 4)
    x_1 = solve("midpoint", GaussianField(std), x_0, power_grid(400))
    torch.testing.assert_close(x_1, std * x_0, rtol=1e-3, atol=0)


@pytest.mark.parametrize("has_poles", [False, True])
def test_the_tiny_grid_is_global_with_poles_as_requested(has_poles: bool) -> None:
    grid = tiny_spec(17, 32, has_poles=has_poles).grid.grid
    assert grid.shape == (17, 32)
    assert grid.has_poles is has_poles


def test_networks_of_one_seed_are_equal_and_of_another_differ() -> None:
    weights = [dict(tiny_networks(tiny_spec(), seed=seed).flow.named_parameters()) for seed in (0, 0, 1)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    assert not all(torch.equal(weight, weights[2][name]) for name, weight in weights[0].items())


def test_building_networks_does_not_change_the_global_generator() -> None:
    before = torch.get_rng_state()
    tiny_networks(tiny_spec())
    assert torch.equal(torch.get_rng_state(), before)


def test_untrained_networks_have_zero_output_layers_and_trained_ones_have_none() -> None:
    for trained in (False, True):
        networks = tiny_networks(tiny_spec(), trained=trained)
        for net in (networks.warm_start.net, networks.flow.net):
            assert all(bool(weight.any()) is trained for weight in net.head.parameters())


def test_a_tiny_checkpoint_loads_under_its_name(tmp_path: Path) -> None:
    written = write_tiny_checkpoint(tmp_path / "folder", name="other")
    _, manifest = load_checkpoint(tmp_path / "folder", torch.device("cpu"))
    assert manifest == written
    assert manifest.name == "other"
