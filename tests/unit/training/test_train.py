from collections.abc import Callable
from pathlib import Path

import torch
from typer.testing import CliRunner, Result

from models.checkpoint import load_checkpoint
from training.config import read_config
from warmcast.cli import app

CPU = torch.device("cpu")


def _train(config: Path, files: list[Path], output: Path, *more: str) -> Result:
    data = [argument for file in files for argument in ("--data", str(file))]
    arguments = ["train", str(config), *data, "--output", str(output), *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_training_writes_a_checkpoint_with_its_provenance(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    result = _train(write_config(), two_years, tmp_path / "run")
    assert result.exit_code == 0, result.output
    networks, manifest = load_checkpoint(tmp_path / "run/checkpoint", CPU)
    assert networks.spec.variable_names == ("u10", "v10")
    provenance = manifest.provenance
    assert (provenance.train_years, provenance.validation_years) == ((2000,), (2001,))
    assert (provenance.warm_start_steps, provenance.flow_steps) == (12, 12)
    assert manifest.sampling.nfe == 2
    lines = result.stderr.splitlines()
    assert any("samples/s" in line and "left" in line and "mae_u10" in line for line in lines)


def test_training_a_checkpoint_further_starts_with_its_weights_and_adds_to_its_steps(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    config = write_config()
    assert _train(config, two_years, tmp_path / "first").exit_code == 0
    start = str(tmp_path / "first/checkpoint")
    no_steps = {"optimiser": {"steps": 0}}
    frozen = write_config(
        warm_start={**read_config(config).warm_start.model_dump(mode="json"), **no_steps},
        flow={**read_config(config).flow.model_dump(mode="json"), **no_steps},
    )
    assert _train(frozen, two_years, tmp_path / "same", "--from", start).exit_code == 0
    before, _ = load_checkpoint(tmp_path / "first/checkpoint", CPU)
    same, manifest = load_checkpoint(tmp_path / "same/checkpoint", CPU)
    for name, weight in before.flow.state_dict().items():
        assert torch.equal(same.flow.state_dict()[name], weight)
    assert manifest.provenance.flow_steps == 12
    assert _train(write_config(), two_years, tmp_path / "more", "--from", start).exit_code == 0
    assert load_checkpoint(tmp_path / "more/checkpoint", CPU)[1].provenance.flow_steps == 24


def test_a_second_training_in_a_folder_requires_resume(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    config = write_config()
    _train(config, two_years, tmp_path / "run")
    digest = load_checkpoint(tmp_path / "run/checkpoint", CPU)[1].files
    again = _train(config, two_years, tmp_path / "run")
    assert again.exit_code == 2
    assert "Pass --resume" in again.stderr
    assert _train(config, two_years, tmp_path / "run", "--resume").exit_code == 0
    assert load_checkpoint(tmp_path / "run/checkpoint", CPU)[1].files == digest
    other = _train(write_config(seed=3), two_years, tmp_path / "run", "--resume")
    assert other.exit_code == 2
    assert "another configuration" in other.stderr


def test_a_checkpoint_of_other_networks_is_not_trained_further(
    write_config: Callable[..., Path], two_years: list[Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    result = _train(write_config(), two_years, tmp_path / "run", "--from", str(tiny_checkpoint))
    assert result.exit_code == 2
    assert "differ in features" in result.stderr


def test_years_without_data_are_named(write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path) -> None:
    result = _train(write_config(), two_years[:1], tmp_path / "run")
    assert result.exit_code == 2
    assert "`data.validation_years` (2001,) have no three consecutive frames" in result.stderr
