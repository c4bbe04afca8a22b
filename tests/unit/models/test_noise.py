import itertools

import numpy as np
import pytest
import torch

from models.noise import ForecastNoise, advance_noise, white_noise
from weather.manifest import WHITE, NoiseSpec

SHAPE = (2, 8, 16)
TIME = np.datetime64("2018-09-15T00", "s")
CORRELATED = NoiseSpec(correlation=0.6, late_correlation=0.2, decay_hours=12, scale=1.05)


def _draw(
    spec: NoiseSpec,
    members: list[int] | range,
    num_steps: int,
    *,
    first_step: int = 0,
    seed: int = 1,
    init_time: np.datetime64 = TIME,
    shape: tuple[int, int, int] = SHAPE,
    variables: tuple[str, ...] = (),
) -> torch.Tensor:
    """Return the noise of a forecast: (step, member, variable, latitude, longitude)."""
    noise = ForecastNoise(spec, 6, shape, seed, init_time, variables).draw(members, first_step)
    return torch.stack(list(itertools.islice(noise, num_steps)))


def _correlations(draws: list[torch.Tensor]) -> np.ndarray:
    return np.corrcoef(np.stack([draw.flatten().numpy() for draw in draws]))


def test_noise_is_the_same_in_any_batch_and_order() -> None:
    together = white_noise(5, TIME, range(8), 3, SHAPE)
    assert torch.equal(white_noise(5, TIME, [7], 3, SHAPE)[0], together[7])
    assert torch.equal(white_noise(5, TIME, [6, 2], 3, SHAPE), together[[6, 2]])


def test_noise_differs_by_seed_initial_time_member_and_step() -> None:
    draws = [
        white_noise(seed, TIME + np.timedelta64(hours, "h"), [member], step, SHAPE)
        for seed in (0, 1, 2**63 - 1)
        for hours in (0, 6, 24 * 30)
        for member in (0, 1, 999)
        for step in (0, 1, 59)
    ]
    correlations = _correlations(draws) - np.eye(len(draws))
    assert np.abs(correlations).max() < 6 / np.sqrt(draws[0].numel())


@pytest.mark.parametrize("spec", [WHITE, CORRELATED])
def test_forecasts_of_other_initial_times_seeds_and_members_have_uncorrelated_noise(spec: NoiseSpec) -> None:
    """Over all steps, starts months or a step apart: a member's noise says nothing about its noise at another start."""
    times = [TIME, TIME + np.timedelta64(6, "h"), TIME + np.timedelta64(90, "D"), np.datetime64("1955-01-01", "s")]
    draws = [_draw(spec, [4], 12, seed=seed, init_time=time) for time in times for seed in (0, 1)]
    draws += [_draw(spec, [member], 12, seed=0) for member in (0, 5)]
    correlations = _correlations(draws) - np.eye(len(draws))
    assert np.abs(correlations).max() < 8 / np.sqrt(draws[0].numel())


def test_noise_is_standard_normal() -> None:
    noise = white_noise(0, TIME, range(50), 0, (2, 48, 96)).double()
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    assert abs(float((noise**4).mean()) - 3) < 0.05


def test_noise_of_a_seed_does_not_change_between_releases() -> None:
    assert [round(float(value), 4) for value in white_noise(1, TIME, [0], 0, (1, 1, 4)).flatten()] == GOLDEN
    correlated = _draw(NoiseSpec(correlation=0.5), [0], 3, shape=(1, 1, 4))[2]
    assert [round(float(value), 4) for value in correlated.flatten()] == CORRELATED_GOLDEN


GOLDEN = [-0.27, 1.0044, -0.057, -2.2323]
CORRELATED_GOLDEN = [1.4945, 2.2791, -0.1267, 0.1476]


@pytest.mark.parametrize(("seed", "member", "step"), [(0, 0, 0), (7, 3, 59), (2**63 - 1, 999, 239)])
@pytest.mark.parametrize("time", ["2018-09-15T00", "1950-01-01T18"])
def test_noise_is_the_documented_stream_of_philox(seed: int, member: int, step: int, time: str) -> None:
    """docs/method.md §7: key (seed, seconds since 1970 modulo 2⁶⁴), counter (0, 0, member, step)."""
    init_time = np.datetime64(time, "ns")
    seconds = init_time.astype("M8[s]").astype(np.int64).view(np.uint64)
    key, counter = np.array([seed, seconds], np.uint64), np.array([0, 0, member, step], np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key, counter=counter)).standard_normal(SHAPE, np.float32)
    np.testing.assert_array_equal(white_noise(seed, init_time, [member], step, SHAPE)[0].numpy(), expected)


def test_noise_of_no_member_is_empty_and_of_a_member_twice_the_same() -> None:
    assert white_noise(0, TIME, [], 0, SHAPE).shape == (0, *SHAPE)
    twice = white_noise(0, TIME, [4, 4], 0, SHAPE)
    assert twice.dtype == torch.float32
    assert torch.equal(twice[0], twice[1])


def test_noise_does_not_change_the_global_generators() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    white_noise(0, TIME, range(3), 0, SHAPE)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_neighbouring_points_and_channels_are_independent() -> None:
    noise = white_noise(0, TIME, range(40), 0, (2, 48, 96)).double()
    products = (
        noise[..., 1:] * noise[..., :-1],
        noise[..., 1:, :] * noise[..., :-1, :],
        noise[:, 0] * noise[:, 1],
    )
    for product in products:
        assert abs(float(product.mean())) < 5 / product.numel() ** 0.5


def test_the_noise_of_a_forecast_has_the_stated_variance_and_correlation_in_time() -> None:
    noise = _draw(CORRELATED, range(8), 8, shape=(2, 24, 48)).double().flatten(1)
    tolerance = 5 / noise.shape[1] ** 0.5
    assert (noise.std(dim=1) - CORRELATED.scale).abs().max() < tolerance
    found = np.corrcoef(noise.numpy())
    for later in range(8):
        expected = 1.0
        for earlier in range(later, -1, -1):
            assert abs(found[later, earlier] - expected) < tolerance
            expected *= CORRELATED.correlation_at(earlier, 6)
    assert expected == 0, "nothing is before the first step"


def test_white_noise_is_drawn_where_nothing_is_correlated() -> None:
    for step, noise in enumerate(_draw(WHITE, [2, 3], 3)):
        assert torch.equal(noise, white_noise(1, TIME, [2, 3], step, SHAPE))
    scaled = _draw(NoiseSpec(scale=1.5), [2, 3], 3)
    assert torch.equal(scaled, 1.5 * _draw(WHITE, [2, 3], 3))


@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_a_scale_by_variable_multiplies_each_variable_and_rounds_once(correlation: float) -> None:
    spec = NoiseSpec(correlation=correlation, scale={"v10": 1.013, "u10": 0.97})
    unscaled = _draw(NoiseSpec(correlation=correlation), range(3), 3)
    found = _draw(spec, range(3), 3, variables=("u10", "v10"))
    for channel, scale in enumerate((0.97, 1.013)):
        exact = unscaled[:, :, channel].double() * float(np.float32(scale))
        assert torch.equal(found[:, :, channel], exact.float())
    one = _draw(NoiseSpec(correlation=correlation, scale=1.013), [2], 3, variables=("u10", "v10"))
    assert torch.equal(found[:, [2], 1], one[:, :, 1]), "the bits of one scale for all variables"
    with pytest.raises(ValueError, match="variables u10, t2m and for no other"):
        _draw(spec, [0], 1, variables=("u10", "t2m"))


@pytest.mark.parametrize("spec", [WHITE, CORRELATED, NoiseSpec(correlation=0.4, late_correlation=0.0)])
def test_noise_is_bit_for_bit_the_same_in_any_batch_and_from_any_first_step(spec: NoiseSpec) -> None:
    """Odd numbers of elements put a member at every alignment of vector instructions."""
    shape = (1, 7, 13)
    whole = _draw(spec, range(5), 6, shape=shape)
    for first_step in range(6):
        resumed = _draw(spec, [4, 1], 6 - first_step, first_step=first_step, shape=shape)
        assert torch.equal(resumed, whole[first_step:][:, [4, 1]])


def test_the_noise_depends_on_no_number_of_threads() -> None:
    before, shape = torch.get_num_threads(), (2, 97, 193)
    noise = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        noise.append(_draw(CORRELATED, range(3), 3, shape=shape))
    torch.set_num_threads(before)
    assert torch.equal(noise[0], noise[1])
    assert torch.equal(noise[0], noise[2])


def test_the_first_noise_is_white_and_a_step_keeps_the_variance() -> None:
    previous, white = (white_noise(seed, TIME, [0], 0, (1, 200, 400)) for seed in (0, 1))
    assert advance_noise(None, white, 0.9) is white
    advanced = advance_noise(previous, white, 0.9)
    assert abs(float(advanced.std()) - 1) < 0.02
    assert abs(float((advanced * previous).mean()) - 0.9) < 0.02
