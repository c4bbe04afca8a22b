import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from models.checkpoint import load_checkpoint
from training.cost import GPUS
from warmcast.cli import app

WriteConfig = Callable[..., Path]


def _run(config: Path, years: list[Path], *more: object, code: int = 0) -> Result:
    data = [part for year in years for part in ("--data", str(year))]
    result = CliRunner().invoke(app, ["train", str(config), *data, "--dry-run", *map(str, more)])
    assert result.exit_code == code, result.output
    return result


def _estimate(config: Path, years: list[Path], *more: object) -> dict[str, Any]:
    estimate: dict[str, Any] = json.loads(_run(config, years, "--json", *more).stdout)
    return estimate


def test_a_dry_run_writes_nothing_and_prints_parameters_memory_hours_and_cost(
    write_config: WriteConfig, two_years: list[Path], tmp_path: Path
) -> None:
    config = write_config()
    before = set(tmp_path.rglob("*"))
    text = _run(config, two_years, "--output", tmp_path / "run").stdout
    for words in ("Parameters: h ", "activations", "hours", "on 1 GPU (h100)", "which fits into 80 GB", "at 3 an hour"):
        assert words in text
    assert "GPU seconds of a step = (FLOP / peak + bytes moved / bandwidth) / share" in text
    assert set(tmp_path.rglob("*")) == before


def test_it_counts_the_parameters_of_the_checkpoint_that_training_writes(
    write_config: WriteConfig, two_years: list[Path], tmp_path: Path
) -> None:
    estimate = _estimate(write_config(), two_years)
    data = [part for year in two_years for part in ("--data", str(year))]
    trained = CliRunner().invoke(app, ["train", str(write_config()), *data, "--output", str(tmp_path / "run")])
    assert trained.exit_code == 0, trained.output
    networks, _ = load_checkpoint(tmp_path / "run/checkpoint", torch.device("cpu"))
    for name, module in (("warm_start", networks.warm_start), ("flow", networks.flow)):
        assert estimate["parameters"][name] == sum(weight.numel() for weight in module.parameters())


def test_the_estimates_follow_from_the_counts_by_the_printed_formulas(
    write_config: WriteConfig, two_years: list[Path]
) -> None:
    estimate = _estimate(write_config(), two_years, "--gpu", "a100", "--share", 0.5, "--price", 2)
    gpu, total = GPUS["a100"], estimate["total"]
    both = 4 * sum(estimate["parameters"].values())
    for stage in estimate["stages"]:
        counts, trained = stage["per_sample"], 4 * estimate["parameters"][stage["stage"]]
        seconds = (counts["flops"] / gpu.float32_flops + counts["moved_bytes"] / gpu.bytes_per_second) / 0.5
        assert stage["gpu_samples_per_second"] == pytest.approx(1 / seconds)
        assert stage["gpu_hours"] == pytest.approx(stage["steps"] * stage["batch_size"] * seconds / 3600)
        memory = stage["memory"]
        assert (memory["weights"], memory["gradients"], memory["averages"]) == (both, trained, trained)
        assert memory["activations"] == pytest.approx(counts["saved_bytes"] * stage["samples_at_once"])
        assert memory["total"] == sum(value for name, value in memory.items() if name != "total")
    assert total["cost"] == pytest.approx(2 * sum(stage["gpu_hours"] for stage in estimate["stages"]))


def test_recomputing_blocks_saves_memory_and_costs_work(write_config: WriteConfig, two_years: list[Path]) -> None:
    kept, recomputed = (_estimate(write_config(recompute=value), two_years) for value in (False, True))
    assert kept["parameters"] == recomputed["parameters"]
    for before, after in zip(kept["stages"], recomputed["stages"], strict=True):
        assert after["per_sample"]["saved_bytes"] < 0.7 * before["per_sample"]["saved_bytes"]
        assert before["per_sample"]["flops"] < after["per_sample"]["flops"] < 1.5 * before["per_sample"]["flops"]


def test_accumulation_and_processes_divide_the_memory_and_not_the_work(
    write_config: WriteConfig, two_years: list[Path]
) -> None:
    whole = _estimate(write_config(), two_years)
    optimiser = {"steps": 12, "batch_size": 4, "accumulation": 2}
    network = {"widths": [8, 16], "blocks": 1, "head_channels": 4}
    config = write_config(warm_start={"network": network, "optimiser": optimiser}, stages=["warm_start"])
    parts = _estimate(config, two_years, "--processes", 2)
    (one,), first = parts["stages"], whole["stages"][0]
    assert (one["samples_at_once"], first["samples_at_once"], one["batch_size"]) == (1, 4, 4)
    assert one["per_sample"]["flops"] == pytest.approx(first["per_sample"]["flops"])
    assert one["memory"]["activations"] == pytest.approx(first["memory"]["activations"] / 4, rel=0.05)
    assert parts["total"]["gpus"] == 2


def test_half_precision_halves_most_of_the_activations(write_config: WriteConfig, two_years: list[Path]) -> None:
    full, half = (_estimate(write_config(precision=name), two_years) for name in ("float32", "float16"))
    assert half["precision"] == "float16"
    for stage, other in zip(half["stages"], full["stages"], strict=True):
        assert 0.4 < stage["memory"]["activations"] / other["memory"]["activations"] < 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpu", "abacus"), "--gpu must be one of h100, h200, a100, l40s, rtx4090. Got: 'abacus'."),
        (("--processes", 3), "must be a multiple of `processes`"),
    ],
)
def test_what_a_training_would_refuse_is_refused(
    write_config: WriteConfig, two_years: list[Path], options: tuple[object, ...], message: str
) -> None:
    assert message in _run(write_config(), two_years, *options, code=2).stderr


def test_a_checkpoint_to_start_from_must_fit(
    write_config: WriteConfig, two_years: list[Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The tiny checkpoint has three features, the configuration one; p' alone may be trained from its h."""
    start = shutil.copytree(tiny_checkpoint, tmp_path / "start")
    message = _run(write_config(), two_years, "--from", start, code=2).stderr
    assert "cannot be trained further with this configuration and data: they differ in features." in message
    CliRunner().invoke(app, ["checkpoint", "extremes", str(start), "--data", str(two_years[0])])
    features = ["sin_latitude", "season_sin", "season_cos"]
    estimate = _estimate(write_config(features=features, stages=["flow"]), two_years, "--from", start)
    assert [stage["stage"] for stage in estimate["stages"]] == ["flow"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ["flow"]}, "`stages` must have `warm_start` or `both`"),
        ({"validation": {"lead_times": ["30d"]}}, "`data.validation_years`"),
    ],
)
def test_a_configuration_that_a_training_would_refuse_is_refused(
    write_config: WriteConfig, two_years: list[Path], changes: dict[str, Any], message: str
) -> None:
    assert message in _run(write_config(**changes), two_years, code=2).stderr


def test_a_training_needs_an_output_folder(write_config: WriteConfig, two_years: list[Path]) -> None:
    result = CliRunner().invoke(app, ["train", str(write_config()), "--data", str(two_years[0])])
    assert result.exit_code == 2
    assert "--output" in result.stderr


def test_a_folder_with_another_training_is_refused(
    write_config: WriteConfig, two_years: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    assert "already holds a training" in _run(write_config(), two_years, "--output", tmp_path / "run", code=2).stderr


def test_forecasts_cost_an_evaluation_for_each_member_and_time_step(
    write_config: WriteConfig, two_years: list[Path]
) -> None:
    rollout = {"steps": 2, "batch_size": 4, "members": 2, "time_steps": 1}
    config = write_config(stages=["warm_start", "rollout"], rollouts=[rollout, rollout | {"time_steps": 4}])
    stages = {stage["stage"]: stage for stage in _estimate(config, two_years)["stages"]}
    assert list(stages) == ["warm_start", "rollout-1", "rollout-2"]
    one, four = (stages[name]["per_sample"]["flops"] for name in ("rollout-1", "rollout-2"))
    assert 3.5 * one < four < 4.5 * one
