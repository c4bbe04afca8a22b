import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from training.cost import GPUS, estimate_memory, estimate_seconds
from training.step_counters import StepCounts, count_step, time_step

CPU = torch.device("cpu")
FLOAT = 4


def test_operations_of_a_linear_layer_are_those_of_its_three_products() -> None:
    net, x = nn.Linear(30, 20, bias=False), torch.randn(10, 30, requires_grad=True)
    counts = count_step(lambda: net(x).sum().backward(), [net.weight, x], CPU)
    assert counts.flops == 3 * 2 * 10 * 30 * 20
    assert counts.seconds > 0


def test_saved_memory_is_counted_once_and_without_what_exists_anyway() -> None:
    """Both products save x and each other's factor; `exp` saves its result, which the second product saves again."""
    x = torch.randn(50, 40, requires_grad=True)
    weight = nn.Parameter(torch.randn(50, 40))

    def step() -> None:
        grown = x.exp()
        (grown * weight * grown.view(2000).view(50, 40)).sum().backward()

    counts = count_step(step, [x, weight], CPU)
    assert counts.saved_bytes == 2 * 50 * 40 * FLOAT


def test_a_part_of_saved_memory_counts_as_the_whole_that_is_kept() -> None:
    x = torch.randn(10, 4, requires_grad=True)
    counts = count_step(lambda: x.exp()[:1].square().sum().backward(), [x], CPU)
    assert counts.saved_bytes == 10 * 4 * FLOAT


def test_autocast_halves_what_convolutions_save() -> None:
    """In float32 SiLU and the second convolution save their inputs; under autocast each saves it, cast, too."""
    conv, x = nn.Conv2d(8, 8, 3, padding=1), torch.randn(2, 8, 16, 16)

    def run(dtype: torch.dtype | None) -> StepCounts:
        def step() -> None:
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                conv(F.silu(conv(x))).sum().backward()

        return count_step(step, [*conv.parameters(), x], CPU)

    full, half = run(None), run(torch.bfloat16)
    cast_weights = 2 * conv.weight.numel()
    assert full.saved_bytes == 2 * x.numel() * FLOAT
    assert half.saved_bytes == 3 * x.numel() * FLOAT // 2 + cast_weights
    assert half.flops == full.flops


def test_views_move_nothing_and_sums_what_they_read_and_write() -> None:
    x = torch.randn(10, 20)
    assert count_step(lambda: x.T.reshape(2, 100).T[3:], [x], CPU).moved_bytes == 200 * FLOAT * 2  # one copy
    counts = count_step(lambda: x.view(200)[None].expand(5, 200).t(), [x], CPU)
    assert counts.moved_bytes == 0
    counts = count_step(lambda: (x + x).add_(1), [x], CPU)
    assert counts.largest_bytes == 3 * 200 * FLOAT
    assert counts.moved_bytes == (3 + 2) * 200 * FLOAT


def test_steps_are_timed_by_their_mean() -> None:
    calls: list[int] = []
    seconds = time_step(lambda: (time.sleep(0.01), calls.append(1))[1], 3, CPU)
    assert len(calls) == 3
    assert seconds >= 0.01


def test_memory_and_time_follow_their_formulas() -> None:
    counts = StepCounts(seconds=1.0, flops=989 * 10**12, saved_bytes=7, moved_bytes=67 * 10**11, largest_bytes=5)
    memory = estimate_memory(counts, all_weights=10, trained_weights=4, outputs_bytes=100, record_bytes=1000)
    assert memory.total == 4 * 10 + 4 * 4 + 2 * 4 * 4 + 4 * 4 + 7 + 5 + 100 + 1000
    assert estimate_seconds(counts, GPUS["h100"], "bfloat16", 0.5) == pytest.approx((1 + 2) / 0.5)
    assert estimate_seconds(counts, GPUS["h100"], "float32", 1.0) == pytest.approx(989 / 494 + 2)
