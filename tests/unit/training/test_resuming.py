from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConfigurationError
from tests.unit.training.tiny import tiny_config
from tests.unit.training.toy import build_step
from training.config import TrainingConfig
from training.resuming import CONFIG_COPY, check_output, state_path
from training.state import StageProgress, save_state

Begin = Callable[..., Path]


def _config(**changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(tiny_config(**changes))


def _with_steps(stage: str, steps: int) -> dict[str, Any]:
    part = tiny_config()[stage]
    return {stage: part | {"optimiser": part["optimiser"] | {"steps": steps}}}


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Write the files of a training that has made a number of steps of some stages."""

    def begin(**steps_done: int) -> Path:
        (tmp_path / CONFIG_COPY).write_text(_config().model_dump_json())
        for stage, steps in steps_done.items():
            save_state(state_path(tmp_path, stage), StageProgress(steps, 1.0), build_step().optimisers)
        return tmp_path

    return begin


def test_a_folder_with_a_training_requires_resume(begin: Begin) -> None:
    with pytest.raises(ConfigurationError, match="Pass --resume to continue it, or choose another folder"):
        check_output(begin(), _config(), resume=False)
    check_output(begin(), _config(), resume=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "cuda:1", "precision": "bfloat16", "processes": 4, "compile": "default", "graphs": "never"},
        {"save_every": 50, "report_every": 1},
        {"warm_start": {**tiny_config()["warm_start"], "optimiser": {"steps": 12, "batch_size": 4, "warmup_steps": 2}}},
    ],
)
def test_what_changes_results_by_rounding_only_may_change(changes: dict[str, Any], begin: Begin) -> None:
    check_output(begin(warm_start=5), _config(**changes), resume=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 3}, "`seed` is 0 there. Got: 3"),
        ({"variables": ["u10"]}, r"`variables` is \['u10', 'v10'\] there"),
        ({"area_weights": True}, "`area_weights` is False there. Got: True"),
        ({"stages": ["warm_start"]}, "`stages` is"),
        ({"stages": ["both"], "both": {"steps": 3, "batch_size": 4}}, "`both"),
    ],
)
def test_what_changes_results_may_not_change(changes: dict[str, Any], named: str, begin: Begin) -> None:
    with pytest.raises(ConfigurationError, match=f"another configuration: {named}"):
        check_output(begin(warm_start=5), _config(**changes), resume=True)


def test_steps_may_change_until_a_later_stage_begins_but_not_below_those_done(begin: Begin) -> None:
    for steps in (7, 12, 100):
        check_output(begin(warm_start=7), _config(**_with_steps("warm_start", steps)), resume=True)
        check_output(begin(warm_start=7), _config(**_with_steps("flow", steps)), resume=True)
    with pytest.raises(ConfigurationError, match=r"`warm_start.optimiser.steps` must be at least 7, .* Got: 6"):
        check_output(begin(warm_start=7), _config(**_with_steps("warm_start", 6)), resume=True)
    with pytest.raises(ConfigurationError, match="cannot change any more: the stage `flow` has begun"):
        check_output(begin(warm_start=12, flow=2), _config(**_with_steps("warm_start", 20)), resume=True)
