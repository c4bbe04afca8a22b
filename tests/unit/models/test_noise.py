import numpy as np
import pytest
import torch

from models.noise import member_noise

SHAPE = (2, 8, 16)


def test_noise_is_the_same_in_any_batch_and_order() -> None:
    together = member_noise(5, range(8), 3, SHAPE)
    assert torch.equal(member_noise(5, [7], 3, SHAPE)[0], together[7])
    assert torch.equal(member_noise(5, [6, 2], 3, SHAPE), together[[6, 2]])


def test_noise_differs_by_seed_member_and_step() -> None:
    draws = [
        member_noise(seed, [member], step, SHAPE).flatten().numpy()
        for seed in (0, 1, 2**63 - 1)
        for member in (0, 1, 999)
        for step in (0, 1, 59)
    ]
    correlations = np.corrcoef(np.stack(draws)) - np.eye(len(draws))
    assert np.abs(correlations).max() < 5 / np.sqrt(draws[0].size)


def test_noise_is_standard_normal() -> None:
    noise = member_noise(0, range(50), 0, (2, 48, 96)).double()
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    assert abs(float((noise**4).mean()) - 3) < 0.05


def test_noise_of_a_seed_does_not_change_between_releases() -> None:
    assert [round(float(value), 4) for value in member_noise(1, [0], 0, (1, 1, 4)).flatten()] == GOLDEN


GOLDEN = [1.0917, 0.4558, 0.7018, 0.2849]


@pytest.mark.parametrize(("seed", "member", "step"), [(0, 0, 0), (7, 3, 59), (2**63 - 1, 999, 239)])
def test_noise_is_the_documented_stream_of_philox(seed: int, member: int, step: int) -> None:
    """docs/method.md §7: key (seed, 0), counter (0, 0, member, step)."""
    bits = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=np.array([0, 0, member, step], np.uint64))
    expected = np.random.Generator(bits).standard_normal(SHAPE, np.float32)
    np.testing.assert_array_equal(member_noise(seed, [member], step, SHAPE)[0].numpy(), expected)


def test_noise_of_no_member_is_empty_and_of_a_member_twice_the_same() -> None:
    assert member_noise(0, [], 0, SHAPE).shape == (0, *SHAPE)
    twice = member_noise(0, [4, 4], 0, SHAPE)
    assert twice.dtype == torch.float32
    assert torch.equal(twice[0], twice[1])


def test_noise_does_not_change_the_global_generators() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    member_noise(0, range(3), 0, SHAPE)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_neighbouring_points_and_channels_are_independent() -> None:
    noise = member_noise(0, range(40), 0, (2, 48, 96)).double()
    products = (
        noise[..., 1:] * noise[..., :-1],
        noise[..., 1:, :] * noise[..., :-1, :],
        noise[:, 0] * noise[:, 1],
    )
    for product in products:
        assert abs(float(product.mean())) < 5 / product.numel() ** 0.5
