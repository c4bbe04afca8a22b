"""Every command of docs/adapt.md is run from top to bottom, on tiny networks, few frames and few steps."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.unit.training.tiny import fit
from training.config import TrainingConfig
from training.train import train
from warmcast.cli import app
from weather.grids import Grid, gaussian_grid
from weather.manifest import read_manifest
from weather.testing import travelling_waves

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/adapt.md").read_text()
FIVE_DEGREES = Grid.from_coordinates(np.linspace(-90, 90, 37), np.arange(72) * 5.0)
RUNS = (("2014-01-20T00", 1), ("2018-09-14T18", 8), ("2020-08-24T00", 50), ("2024-10-22T06", 6), ("2026-04-18T00", 9))
SMALLER = {"evaluate": ["--starts", "2", "--members", "2", "--lead-time", "12h"]}
"""Options that replace those of the document."""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def _shrink(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with tiny networks, two steps of each stage and little validation; the rest as it was."""
    steps = {"steps": 2, "batch_size": 4, "accumulation": 1}
    for part in ("warm_start", "flow"):
        embedding = {"embedding_width": 16} if part == "flow" else {}
        network = {"widths": [8, 16], "blocks": 1, "head_channels": 4} | embedding
        config[part] |= {"network": network, "optimiser": config[part]["optimiser"] | steps}
    short = steps | {"time_steps": 1, "gradient_steps": None, "mean_steps": None}
    rollouts = [rollout | short for rollout in config.get("rollouts", ())]
    validation = {"samples": 4, "starts": 1, "members": 2, "lead_times": ["6h"], "growth_days": 0}
    return config | {"rollouts": rollouts, "validation": validation, "save_every": 2, "report_every": 1}


def _times(runs: tuple[tuple[str, int], ...]) -> list[np.datetime64]:
    return [np.datetime64(first, "s") + np.timedelta64(6 * step, "h") for first, count in runs for step in range(count)]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny checkpoint of the planet, analyses without static fields, and tiny configurations."""
    (mine,) = _blocks("yaml")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(_shrink(yaml.safe_load(mine))))
    earth = yaml.safe_load((ROOT / "training/configs/earth.yaml").read_text())
    (tmp_path / "earth.yaml").write_text(yaml.safe_dump(_shrink(earth)))
    planet = travelling_waves(gaussian_grid("t31"), _times((("1982-01-01T00", 20), ("1987-01-01T00", 20))))
    draw = np.random.default_rng(0)
    for name in ("orog", "lsm"):
        planet[name] = (("latitude", "longitude"), draw.standard_normal((48, 96)).astype(np.float32))
    planet.to_netcdf(tmp_path / "planet.nc")
    config = _shrink(yaml.safe_load((ROOT / "training/configs/planet.yaml").read_text()))
    config["data"] |= {"train_years": [1982], "validation_years": [1987], "test_years": []}
    config |= {"stages": ["warm_start", "flow"], "rollouts": [], "precision": "float32"}
    parsed = TrainingConfig.model_validate(config)
    train(parsed, [tmp_path / "planet.nc"], tmp_path / "start", None, resume=False, report=lambda _: None)
    fit(tmp_path / "start/checkpoint")
    winds = travelling_waves(FIVE_DEGREES, _times(RUNS)).sortby("latitude")
    packing = {"dtype": "int16", "scale_factor": 0.02, "_FillValue": -32768}
    winds.to_netcdf(tmp_path / "my-analyses.nc", encoding={"u10": packing, "v10": packing})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_works(workplace: Path) -> None:
    names = {"planet": "start/checkpoint", "earth": "earth.yaml"}
    commands = [line for block in _blocks("sh") for line in block.replace("\\\n", " ").splitlines() if line]
    assert len(commands) == 4
    notes = [line.partition(",")[0] for line in _blocks("console")[0].splitlines()]
    for command in commands:
        words = [names.get(word, word) for word in shlex.split(command)]
        result = CliRunner().invoke(app, [*words[1:], *SMALLER.get(words[1], [])])
        assert result.exit_code == 0, (words, result.output)
        if words[1] == "train" and "--dry-run" not in words:
            assert all(note in result.stderr for note in notes), result.stderr
    assert (workplace / "scores.json").is_file()
    for name in ("mine", "earth"):
        made = read_manifest(workplace / "runs" / name / "checkpoint").provenance
        assert str(made.train_years[0]).startswith("2014-01-01/")
        assert made.started_from is not None


def test_the_configuration_is_valid_and_reports_on_dates_that_neither_trained_nor_validated() -> None:
    (mine,) = _blocks("yaml")
    data = TrainingConfig.model_validate(yaml.safe_load(mine)).data
    assert data.test_years == ("2026-04-18T00/2026-05-31",)
    assert f"--years {data.test_years[0]}" in TEXT
