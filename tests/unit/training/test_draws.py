import numpy as np
import pytest
import torch

from training.draws import FlowDraws, Purpose, draw_for_flow, generator, stream_seed

SHAPE = (8, 2, 4, 6)


def _draw(step: int = 0, share: slice = slice(None), full_warmth_fraction: float = 0.0) -> FlowDraws:
    return draw_for_flow(SHAPE, generator(3, Purpose.FLOW, step), full_warmth_fraction, share)


def test_streams_of_different_purpose_or_step_differ() -> None:
    draws = {
        tuple(torch.rand(2, generator=generator(seed, purpose, step)).tolist())
        for seed in (0, 1)
        for purpose in Purpose
        for step in (0, 1)
    }
    assert len(draws) == 4 * len(Purpose)


def test_a_stream_is_a_function_of_seed_purpose_and_step_alone() -> None:
    first = torch.rand(5, generator=generator(3, Purpose.FLOW, 17))
    torch.rand(100, generator=generator(3, Purpose.FLOW, 16))
    assert torch.equal(torch.rand(5, generator=generator(3, Purpose.FLOW, 17)), first)


def test_the_streams_of_a_seed_do_not_change_between_releases() -> None:
    """A training that is resumed after an update continues with the same draws."""
    draws = torch.rand(2, generator=generator(1, Purpose.FLOW, 0))
    assert [round(float(draw), 5) for draw in draws] == [0.25529, 0.56092]


def test_steps_of_neighbouring_streams_are_uncorrelated() -> None:
    draws = np.stack([torch.randn(2000, generator=generator(0, Purpose.FLOW, step)).numpy() for step in range(12)])
    assert np.abs(np.corrcoef(draws) - np.eye(12)).max() < 5 / np.sqrt(2000)


def test_shares_of_a_batch_have_the_draws_of_the_whole_batch() -> None:
    whole = _draw(5, full_warmth_fraction=0.4)
    for count in (2, 4):
        parts = [_draw(5, slice(8 // count * part, 8 // count * (part + 1)), 0.4) for part in range(count)]
        for name in ("x_0", "t", "warmth"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_warmth_is_drawn_uniformly() -> None:
    warmth = np.sort(torch.cat([_draw(step).warmth for step in range(50)]).numpy())
    assert np.abs(warmth - (np.arange(len(warmth)) + 0.5) / len(warmth)).max() < 1.63 / len(warmth) ** 0.5
    assert warmth[-1] < 1


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_a_fraction_of_the_samples_has_full_warmth(fraction: float) -> None:
    warmth = torch.cat([_draw(step, full_warmth_fraction=fraction).warmth for step in range(50)])
    assert float((warmth == 1).double().mean()) == pytest.approx(fraction, abs=0.08)


def test_flow_times_are_skewed_towards_the_data() -> None:
    """Their median is 1 / (1 + exp(−1.2)) = 0.769; a fifth of them is above 0.9."""
    t = torch.cat([_draw(step).t for step in range(100)])
    assert float(t.median()) == pytest.approx(0.769, abs=0.02)
    assert float((t > 0.9).double().mean()) == pytest.approx(0.203, abs=0.05)


def test_seeds_of_streams_of_one_step_differ() -> None:
    assert len({stream_seed(0, Purpose.DROPOUT, 3, rank) for rank in range(8)}) == 8
