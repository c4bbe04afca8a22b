from pathlib import Path

import pytest
import torch
from torch import nn

from tests.unit.training.tiny import tiny_config
from training.best import BestWeights, selection_score
from training.config import TrainingConfig
from weather.manifest import Selection


def _modules(value: float) -> dict[str, nn.Module]:
    """Return networks whose weights all have one value, in the layout of the real ones."""
    modules: dict[str, nn.Module] = {"warm_start": nn.Conv2d(3, 4, 3), "flow": nn.Linear(3, 2)}
    for module in modules.values():
        for weight in module.parameters():
            nn.init.constant_(weight, value)
    modules["warm_start"].to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return modules


def _value(modules: dict[str, nn.Module]) -> float:
    weights = torch.cat([weights.detach().flatten() for module in modules.values() for weights in module.parameters()])
    (value,) = weights.unique().tolist()
    return float(value)


@pytest.mark.parametrize("killed_after", [None, 0, 1, 2, 3])
def test_the_weights_of_the_lowest_score_are_kept_whether_or_not_the_training_was_resumed(
    killed_after: int | None, tmp_path: Path
) -> None:
    path, scores = tmp_path / "best.safetensors", [0.5, 0.3, 0.4, 0.3]
    best = BestWeights(path, "flow", "crps_72h")
    for number, score in enumerate(scores):
        best.offer(100 * (number + 1), {"crps_72h": score, "nll": -score}, _modules(number))
        if number == killed_after:
            best = BestWeights(path, "flow", "crps_72h")
    modules = _modules(9)
    assert best.restore(modules) == Selection(stage="flow", step=200, score="crps_72h", value=0.3)
    assert _value(modules) == 1


def test_weights_are_restored_in_place_with_their_layout(tmp_path: Path) -> None:
    best = BestWeights(tmp_path / "best.safetensors", "flow", "nll")
    best.offer(1, {"nll": -2.0}, _modules(3))
    modules = _modules(0)
    before = list(modules["warm_start"].parameters())
    best.restore(modules)
    assert all(old is new for old, new in zip(before, modules["warm_start"].parameters(), strict=True))
    assert before[0].is_contiguous(memory_format=torch.channels_last)
    assert _value(modules) == 3


def test_scores_that_are_not_a_number_keep_nothing(tmp_path: Path) -> None:
    best = BestWeights(tmp_path / "best.safetensors", "flow", "nll")
    for value in (float("nan"), float("inf")):
        best.offer(1, {"nll": value}, _modules(1))
    modules = _modules(2)
    assert best.restore(modules) is None
    assert _value(modules) == 2
    assert not list(tmp_path.iterdir())
    best.offer(2, {"nll": 0.0}, _modules(5))
    best.offer(3, {"nll": float("nan")}, _modules(6))
    assert best.restore(modules) == Selection(stage="flow", step=2, score="nll", value=0.0)


def test_a_write_that_fails_leaves_the_earlier_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "best.safetensors"
    best = BestWeights(path, "flow", "nll")
    best.offer(1, {"nll": 1.0}, _modules(1))

    def save_file(tensors: object, partial: Path, metadata: object) -> None:
        partial.write_bytes(b"half of a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("training.best.save_file", save_file)
    with pytest.raises(KeyboardInterrupt):
        best.offer(2, {"nll": 0.0}, _modules(2))
    assert (
        BestWeights(path, "flow", "nll").selection
        == best.selection
        == Selection(stage="flow", step=1, score="nll", value=1.0)
    )


def test_a_stage_selects_by_a_score_that_it_has() -> None:
    config = TrainingConfig.model_validate(tiny_config())
    assert {stage: selection_score(config, stage) for stage in ("warm_start", "flow", "both")} == {
        "warm_start": "nll",
        "flow": "crps_18h",
        "both": "crps_18h",
    }
