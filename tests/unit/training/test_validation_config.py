import pytest

from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig
from training.validation_config import ValidationConfig


@pytest.mark.parametrize(("step", "expected"), [(6, (1, 12)), (12, (1, 6)), (24, (1, 3)), (5, (1, 15)), (96, (1,))])
def test_by_default_the_first_step_and_three_days_are_scored_whatever_the_time_step(
    step: int, expected: tuple[int, ...]
) -> None:
    config = ValidationConfig()
    assert config.lead_steps(step) == expected
    assert config.selection_score(step, with_flow=True) == f"crps_{expected[-1] * step}h"
    assert config.selection_score(step, with_flow=True) in config.selectable(["u10"], step)


def test_lead_times_are_hours_or_days_in_any_order() -> None:
    config = ValidationConfig(lead_times=("3d", "6h", "72h", "24"))
    assert config.lead_steps(6) == (1, 4, 12)
    assert config.selection_score(6, with_flow=True) == "crps_72h"


@pytest.mark.parametrize(
    ("select_by", "of_h", "of_both"),
    [
        (None, "nll", "crps_18h"),
        ("nll", "nll", "nll"),
        ("mae_v10", "mae_v10", "mae_v10"),
        ("crps_6h_u10", "nll", "crps_6h_u10"),
        ("flow_loss", "nll", "flow_loss"),
        ("residual_deviation_u10", "nll", "residual_deviation_u10"),
    ],
)
def test_a_stage_without_the_flow_selects_by_a_score_of_h(select_by: str | None, of_h: str, of_both: str) -> None:
    validation = tiny_config()["validation"] | {"select_by": select_by}
    config = TrainingConfig.model_validate(tiny_config(validation=validation))
    assert config.validation.selection_score(6, with_flow=False) == of_h
    assert config.validation.selection_score(6, with_flow=True) == of_both


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        (
            "select_by",
            "growth_rate",
            r"`validation\.select_by` must be one of nll, flow_loss, crps_6h, crps_18h, mae_u1",
        ),
        ("select_by", "crps_72h", r"Got: crps_72h"),
        ("select_by", "mae_t2m", r"Got: mae_t2m"),
        ("lead_times", ["7h"], r"`validation\.lead_times` is wrong: .* multiple of 6h. Got: '7h'"),
        ("lead_times", ["soon"], r"`validation\.lead_times` is wrong: .* Got: 'soon'"),
        ("lead_times", [], r"validation\.lead_times"),
        ("members", 1, r"validation\.members"),
        ("starts", 0, r"validation\.starts"),
        ("samples", 0, r"validation\.samples"),
        ("every", 0, r"validation\.every"),
        ("growth_days", -1, r"validation\.growth_days"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(field: str, value: object, named: str) -> None:
    validation = tiny_config()["validation"] | {field: value}
    with pytest.raises(ValueError, match=named):
        TrainingConfig.model_validate(tiny_config(validation=validation))


def test_the_rollout_of_the_mean_has_steps_enough_for_a_slope_or_none() -> None:
    assert ValidationConfig().growth_steps(6) == 160
    assert ValidationConfig(growth_days=0.1).growth_steps(24) == 4
    assert ValidationConfig(growth_days=0).growth_steps(6) == 0
