from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint import load_checkpoint
from storage.errors import ConfigurationError
from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig, read_config
from training.logs import Progress
from training.train import train

CPU = torch.device("cpu")
ROLLOUT = {"steps": 4, "batch_size": 4, "warmup_steps": 1, "members": 3, "time_steps": 1}


def _train(output: Path, files: list[Path], **changes: Any) -> tuple[dict[str, torch.Tensor], list[Progress]]:
    """Return the weights of the checkpoint, and the reports."""
    reports: list[Progress] = []
    train(
        TrainingConfig.model_validate(tiny_config(**changes)), files, output, None, resume=False, report=reports.append
    )
    networks = load_checkpoint(output / "final", CPU)[0]
    return networks.flow.state_dict() | networks.warm_start.state_dict(), reports


def test_each_rollout_is_a_stage_that_trains_both_networks(two_years: list[Path], tmp_path: Path) -> None:
    second = ROLLOUT | {"time_steps": 3, "members": 2, "gradient_steps": 2, "input_noise": 0.05, "mean_weight": 0}
    changes = {"stages": ["warm_start", "rollout"], "rollouts": [ROLLOUT, second], "noise": {"correlation": 0.3}}
    _, reports = _train(tmp_path / "run", two_years, report_every=4, **changes)
    losses = {report.stage: set(report.losses) for report in reports}
    assert losses["rollout-1"] == {"crps", "harmonic_crps", "mean_error", "nll"}
    assert losses["rollout-2"] == {"crps", "harmonic_crps", "nll"}
    manifest = load_checkpoint(tmp_path / "run/checkpoint", CPU)[1]
    assert [selection.stage for selection in manifest.provenance.selections] == ["warm_start", "rollout-1", "rollout-2"]
    assert (manifest.provenance.warm_start_steps, manifest.provenance.flow_steps) == (20, 8)
    assert manifest.noise.correlation == 0.3
    assert (tmp_path / "run/rollout-2.state.safetensors").exists()


def test_training_on_forecasts_lowers_their_crps(two_years: list[Path], tmp_path: Path) -> None:
    rollout = ROLLOUT | {"steps": 60, "batch_size": 8, "learning_rate": 2e-3, "schedule": "constant"}
    changes = {"stages": ["warm_start", "rollout"], "rollouts": [rollout], "save_every": 100}
    _, reports = _train(tmp_path, two_years, report_every=15, **changes)
    crps = [report.losses["crps"] for report in reports if report.stage == "rollout-1"]
    assert crps[-1] < 0.9 * crps[0], crps


def test_parts_of_a_batch_of_forecasts_equal_the_whole(two_years: list[Path], tmp_path: Path) -> None:
    rollout = ROLLOUT | {"time_steps": 2, "input_noise": 0.1}
    whole, parts = (
        _train(
            tmp_path / str(count),
            two_years,
            stages=["warm_start", "rollout"],
            rollouts=[rollout | {"accumulation": count}],
        )[0]
        for count in (1, 4)
    )
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ["warm_start", "rollout"]}, "`rollouts` is needed if, and only if"),
        ({"rollouts": [ROLLOUT]}, "`rollouts` is needed if, and only if"),
        ({"stages": ["rollout", "flow"], "rollouts": [ROLLOUT]}, "must end with `rollout`"),
        ({"stages": ["rollout"], "rollouts": [ROLLOUT | {"gradient_steps": 2}]}, "at most `time_steps`, 1. Got: 2"),
        ({"stages": ["rollout"], "rollouts": [ROLLOUT | {"members": 1}]}, "members"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str, write_config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_config(write_config(**changes))


def test_forecasts_longer_than_the_training_years_are_refused(two_years: list[Path], tmp_path: Path) -> None:
    changes = {"stages": ["warm_start", "rollout"], "rollouts": [ROLLOUT | {"time_steps": 38}]}
    with pytest.raises(ConfigurationError, match=r"number of samples in `data.train_years`, \d+. Got: 4"):
        _train(tmp_path, two_years, **changes)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_training_on_forecasts_resumes_to_the_same_weights(
    two_years: list[Path], tmp_path: Path
) -> None:
    changes = {"stages": ["warm_start", "rollout"], "rollouts": [ROLLOUT | {"input_noise": 0.1}], "save_every": 2}
    config = TrainingConfig.model_validate(tiny_config(report_every=2, **changes))

    def interrupt(progress: Progress) -> None:
        if progress.stage == "rollout-1" and progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, two_years, tmp_path / "run", None, resume=False, report=interrupt)
    resumed = train(config, two_years, tmp_path / "run", None, resume=True, report=lambda _: None)
    whole = train(config, two_years, tmp_path / "whole", None, resume=False, report=lambda _: None)
    assert resumed.files == whole.files
