import numpy as np
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
