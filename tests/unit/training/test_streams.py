import numpy as np
import pytest
import torch

from training.streams import Purpose, batch_indices, generator


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
