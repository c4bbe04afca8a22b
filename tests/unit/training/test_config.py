from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import ConfigurationError
from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig, read_config
from training.optimiser_config import OptimiserConfig
from weather.manifest import Sampling


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": -1}, "`seed` is wrong: .* Got: -1"),
        ({"colour": "red"}, "`colour` is wrong: Extra inputs are not permitted"),
        ({"variables": ["q"]}, "`variables` .* are not among u10, v10"),
        (
            {"noise": {"scale": {"u10": 1.03}}},
            "`noise.scale` must be .* for each of the variables u10, v10 .* Got: u10",
        ),
        ({"noise": {"scale": {"u10": 1.03, "v10": 0}}}, "`noise.scale` is wrong: it must be .* Got: {'u10': 1.03"),
        (
            {"warm_start": {"network": {"widths": [7]}, "optimiser": {"steps": 1}}},
            "widths.0` is wrong: .* multiple of 8",
        ),
    ],
)
def test_a_wrong_configuration_is_named(
    changes: dict[str, object], named: str, write_config: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        read_config(write_config(**changes))


def test_a_year_may_not_both_train_and_validate(write_config: Callable[..., Path]) -> None:
    data = read_config(write_config()).data.model_dump(mode="json") | {"validation_years": [2000]}
    with pytest.raises(ConfigurationError, match="may not both train and validate"):
        read_config(write_config(data=data))


@pytest.mark.parametrize("field", ["train_years", "validation_years"])
def test_a_test_year_may_have_no_other_use(field: str, write_config: Callable[..., Path]) -> None:
    data = tiny_config()["data"]
    with pytest.raises(ConfigurationError, match=r"a year may not both (train|validate) and test: \[200[01]\]"):
        read_config(write_config(data=data | {"test_years": data[field]}))


@pytest.mark.parametrize(
    ("written", "years"),
    [
        ("1979-1982", (1979, 1980, 1981, 1982)),
        (1990, (1990,)),
        (["1979-1980", 1985, "1990 - 1991"], (1979, 1980, 1985, 1990, 1991)),
    ],
)
def test_years_may_be_written_as_ranges(
    written: object, years: tuple[int, ...], write_config: Callable[..., Path]
) -> None:
    config = read_config(write_config(data=tiny_config()["data"] | {"train_years": written}))
    assert config.data.train_years == years


@pytest.mark.parametrize("written", ["soon", "1979-", "1982-1979", [], ["1979-x"]])
def test_years_that_are_none_are_refused(written: object, write_config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"`data\.train_years"):
        read_config(write_config(data=tiny_config()["data"] | {"train_years": written}))


def test_both_networks_have_their_own_optimisers_and_the_steps_of_their_common_stage() -> None:
    parts = {name: tiny_config()[name] for name in ("warm_start", "flow")}
    parts["flow"] = parts["flow"] | {"optimiser": {"steps": 9, "learning_rate": 0.5}}
    both = {"steps": 7, "batch_size": 6, "accumulation": 2}
    config = TrainingConfig.model_validate(tiny_config(stages=["both"], both=both, **parts))
    optimisers = config.stage_optimisers("both")
    assert [(part.steps, part.batch_size, part.accumulation) for part in optimisers.values()] == [(7, 6, 2)] * 2
    assert optimisers["flow"].learning_rate == 0.5
    assert config.stage_optimisers("flow") == {"flow": config.flow.optimiser}


def test_the_planet_configuration_is_valid() -> None:
    read_config(Path(__file__).parents[3] / "training/configs/planet.yaml")


def test_a_file_is_read_into_the_same_configuration(write_config: Callable[..., Path]) -> None:
    assert read_config(write_config()) == TrainingConfig.model_validate(tiny_config())


def test_a_configuration_survives_its_own_json() -> None:
    """`config.json` of an output folder is compared with the configuration to resume by this text."""
    config = TrainingConfig.model_validate(tiny_config())
    again = TrainingConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.model_dump_json() == config.model_dump_json()


@pytest.mark.parametrize("text", ["name: [", "- a\n- b\n", "", "\tname: x"])
def test_a_file_that_is_not_a_yaml_mapping_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"config\.yaml`"):
        read_config(path)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read as YAML"):
        read_config(tmp_path / name)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"config\.yaml` cannot be read as YAML"):
        read_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("final_learning_rate", -1e-9),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("clip_norm", 0.0),
        ("ema_decay", 1.0),
        ("ema_decay", -0.1),
        ("betas", [0.9]),
        ("momentum", 0.9),
    ],
)
def test_a_value_out_of_the_range_of_an_optimiser_is_refused_with_its_path(
    field: str, value: object, write_config: Callable[..., Path]
) -> None:
    warm_start = tiny_config()["warm_start"]
    changed = warm_start | {"optimiser": warm_start["optimiser"] | {field: value}}
    with pytest.raises(ConfigurationError, match=rf"`warm_start\.optimiser\.{field}[\w.]*` is wrong: "):
        read_config(write_config(warm_start=changed))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": "Tiny"}, "`name`"),
        ({"name": ""}, "`name`"),
        ({"name": "../tiny"}, "`name`"),
        ({"time_step_hours": 0}, "`time_step_hours`"),
        ({"std_floor": 0}, "`std_floor`"),
        ({"save_every": 0}, "`save_every`"),
        ({"report_every": 0}, "`report_every`"),
        ({"features": ["moon"]}, "`features` \\['moon'\\] are not among sin_latitude"),
        ({"sampling": {"solver": "midpoint", "nfe": 3}}, "multiple of 2 for the midpoint solver. Got: 3"),
        ({"flow": {}}, "`flow.network`"),
        ({"context_frames": 1}, "`context_frames`"),
        ({"device": "gpu"}, "`device`"),
        ({"precision": "tf32"}, "`precision`"),
        ({"processes": 0}, "`processes`"),
        ({"stages": []}, "`stages`"),
        ({"stages": ["both"]}, "the section `both` is needed if, and only if, `stages` has `both`"),
        ({"both": {"steps": 1}}, "the section `both` is needed if, and only if, `stages` has `both`"),
        ({"both": {"steps": 1, "batch_size": 4, "accumulation": 3}}, "`accumulation` must divide `batch_size`"),
        ({"stages": ["flow", "warm_start"]}, "`stages` must have `warm_start` before `flow`"),
        ({"stages": ["flow", "flow"]}, "`stages` must be different. Got: flow, flow"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_its_name(
    changes: dict[str, object], named: str, write_config: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        read_config(write_config(**changes))


@pytest.mark.parametrize("field", ["train_years", "validation_years"])
def test_years_may_not_be_empty(field: str, write_config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match=rf"`data\.{field}` is wrong: "):
        read_config(write_config(data=tiny_config()["data"] | {field: []}))


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_the_fraction_of_full_warmth_is_between_zero_and_one(
    fraction: float, write_config: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigurationError, match=r"`flow\.full_warmth_fraction` is wrong: "):
        read_config(write_config(flow=tiny_config()["flow"] | {"full_warmth_fraction": fraction}))


def test_defaults_follow_the_paper_and_the_documentation() -> None:
    config = TrainingConfig.model_validate({key: tiny_config()[key] for key in ("name", "data", "warm_start", "flow")})
    assert (config.variables, config.time_step_hours, config.std_floor) == (("u10", "v10"), 6, 0.01)
    assert config.sampling == Sampling()
    assert (config.flow.preconditioning, config.flow.full_warmth_fraction) == ("gaussian", 0.0)
    assert OptimiserConfig(steps=1).betas == (0.9, 0.95)
