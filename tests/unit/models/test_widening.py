from dataclasses import replace

import numpy as np
import pytest
import torch

from models.forecaster import Forecaster
from models.networks import Networks
from models.testing import tiny_networks, tiny_spec
from models.widening import add_features
from storage.errors import ConfigurationError
from weather.manifest import Sampling

CPU = torch.device("cpu")
MORE = ("local_time_sin", "sin_latitude", "season_sin", "season_cos", "local_time_cos")
TIMES = [np.datetime64("2018-06-21T06", "s"), np.datetime64("2026-04-18T18", "s")]


def _forecast(networks: Networks, valid_time: np.datetime64) -> list[torch.Tensor]:
    """Return a state, and mean and standard deviation of h, from the same frames and noise."""
    draw = torch.Generator().manual_seed(1)
    shape = (3, 2, *networks.spec.grid.grid.shape)
    frames = [5 * torch.randn(shape, generator=draw) for _ in range(networks.spec.context_frames)]
    forecaster = Forecaster(networks, Sampling(nfe=4), CPU)
    state = forecaster.step(frames, valid_time, torch.randn(shape, generator=draw))
    return [state, *forecaster.warm_start(frames, valid_time)]


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("valid_time", TIMES)
def test_networks_with_further_features_compute_the_same(paper: bool, valid_time: np.datetime64) -> None:
    networks = tiny_networks(tiny_spec(paper=paper))
    wider = add_features(networks, MORE)
    assert wider.spec == networks.spec.model_copy(update={"features": MORE})
    assert torch.equal(wider.context.static, networks.context.static)
    for expected, got in zip(_forecast(networks, valid_time), _forecast(wider, valid_time), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)
        assert expected.std() > 0.1


@pytest.mark.parametrize("paper", [False, True])
def test_the_weights_of_further_features_are_zero_and_are_trained(paper: bool) -> None:
    networks = tiny_networks(tiny_spec(paper=paper))
    wider = add_features(networks, MORE)
    for part in ("warm_start", "flow"):
        before, after = getattr(networks, part).state_dict(), getattr(wider, part).state_dict()
        changed = {name for name in after if after[name].shape != before[name].shape}
        assert changed == {f"net.{name}" for name in getattr(wider, part).net.input_weights}
        for name in changed:
            added = (after[name].shape[1] - before[name].shape[1]) * after[name][:, 0].numel()
            assert int((after[name] == 0).sum()) == added
    context = torch.randn(2, 10, *wider.spec.grid.grid.shape, generator=torch.Generator().manual_seed(0))
    mean, std = wider.warm_start(context)
    (mean.square().mean() + std.log().mean()).backward()
    stem = wider.warm_start.net.state_dict(keep_vars=True)["stem.conv.weight"]
    assert int((stem.grad != 0).sum()) == stem.numel()


def test_the_same_features_return_the_same_networks() -> None:
    networks = tiny_networks(tiny_spec())
    assert add_features(networks, networks.spec.features) is networks


def test_no_feature_may_be_missing() -> None:
    networks = tiny_networks(tiny_spec())
    named = (
        r"`features` must have those of the checkpoint, sin_latitude, season_sin, season_cos, .* Got: local_time_sin"
    )
    with pytest.raises(ConfigurationError, match=named):
        add_features(networks, ("local_time_sin",))


def test_no_random_number_of_others_is_used() -> None:
    networks = replace(tiny_networks(tiny_spec()))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    add_features(networks, MORE)
    assert torch.equal(torch.rand(1), expected)
