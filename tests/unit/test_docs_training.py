"""Every command of docs/training.md is run from top to bottom, on tiny networks, few frames and few steps.

`make campaign` runs them; an ordinary run checks that the commands and their options exist.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from training.config import TrainingConfig
from training.data.standin import main as make_stand_in
from training.data.standin import make_store
from warmcast.cli import app
from weather.grids import Grid, gaussian_grid
from weather.testing import travelling_waves

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/training.md").read_text()
COARSE = Grid.from_coordinates(np.linspace(84.375, -84.375, 16), np.arange(32) * 11.25)
STEPS = {"steps": 2, "batch_size": 4, "accumulation": 1}
NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"widths": [8, 16], "blocks": 1, "head_channels": 4},
    "paper_warm_start": {"kind": "paper_warm_start", "widths": [8, 16], "blocks": 1, "norm_groups": 4},
    "paper_flow": {"kind": "paper_flow", "widths": [8, 8], "blocks": 1, "norm_groups": 4, "embedding_width": 16},
}
SMALLER = {
    "evaluate": ["--starts", "2", "--members", "2", "--lead-time", "12h", "--nfe", "2"],
    "forecast": ["--members", "2", "--lead-time", "12h", "--nfe", "2"],
    "nature-run": ["--tiny"],
}
"""Options that replace those of the document."""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def _commands() -> list[str]:
    return [line for block in _blocks("sh") for line in block.replace("\\\n", " ").splitlines() if line]


def _shrink(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with tiny networks, two steps and little validation; all else is as it was."""
    for part in ("warm_start", "flow"):
        network = NETWORKS[config[part]["network"].get("kind", "unet")]
        embedding = {"embedding_width": 16} if part == "flow" else {}
        optimiser = config[part]["optimiser"] | STEPS
        config[part] |= {"network": network | embedding, "optimiser": optimiser}
    validation = {"samples": 4, "starts": 1, "members": 2, "lead_times": ["6h"], "growth_days": 0}
    return config | {"validation": validation, "save_every": 2, "report_every": 1}


def _winds(grid: Grid, years: tuple[int, ...], names: tuple[str, str]) -> xr.Dataset:
    """Return waves in the first days of each year, those of the first for a climatology, and two static fields."""
    counts = {year: 60 if year == years[0] else 12 for year in years}
    starts = {year: np.datetime64(f"{year}-01-01T00", "s") for year in years}
    times = [starts[year] + np.timedelta64(6 * step, "h") for year in years for step in range(counts[year])]
    fields = travelling_waves(grid, times)
    draw = np.random.default_rng(0)
    for name in names:
        fields[name] = (("latitude", "longitude"), draw.standard_normal(grid.shape).astype(np.float32))
    return fields


@pytest.fixture
def workplace(tmp_path: Path, gfs_files: list[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the commands name: tiny configurations, a store, years of a planet, analyses."""
    (tmp_path / "training/configs").mkdir(parents=True)
    for path in (ROOT / "training/configs").glob("*.yaml"):
        config = _shrink(yaml.safe_load(path.read_text()))
        (tmp_path / "training/configs" / path.name).write_text(yaml.safe_dump(config))
    (mine,) = _blocks("yaml")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(_shrink(yaml.safe_load(mine))))
    make_store(tmp_path / "era5.zarr", "64x32", first="2017-12-01", times=1650)
    for file, grid, years in (
        ("planet/nature_2003.nc", gaussian_grid("t31"), (1982, 2002, 2003)),
        ("analyses/winds.nc", COARSE, (2015, 2024)),
    ):
        (tmp_path / file).parent.mkdir()
        _winds(grid, years, ("orog", "lsm")).to_netcdf(tmp_path / file)
    for target, source in zip(("gfs.t18z.grib2", "gfs.t00z.grib2"), gfs_files, strict=True):
        (tmp_path / target).symlink_to(source)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _make_store(words: list[str]) -> None:
    assert words[:3] == ["python", "-m", "training.data.standin"]
    words[words.index("--grid") + 1] = "64x32"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words[2:])
        make_stand_in()


def _run_torchrun(words: list[str]) -> None:
    words[words.index("--nproc-per-node") + 1] = "1"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _run_warmcast(words: list[str]) -> None:
    if "--processes" in words:
        words[words.index("--processes") + 1] = "1"
    result = CliRunner().invoke(app, [*words[1:], *SMALLER.get(words[1], [])])
    if words[1] == "nature-run" and importlib.util.find_spec("jcm") is None:
        assert "warmcast[nature]" in result.stderr
        return
    assert result.exit_code == 0, (words, result.output)
    if "--dry-run" in words:
        assert "Parameters: h" in result.stdout


def test_every_command_and_option_exists() -> None:
    for command in _commands():
        words = shlex.split(command)
        if words[0] != "warmcast":
            continue
        found: Any = get_command(app)
        while isinstance(found, TyperGroup):
            found = found.commands[words[1]]
            words.pop(1)
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, command


@pytest.mark.campaign
def test_every_command_works(workplace: Path) -> None:
    run = {"warmcast": _run_warmcast, "torchrun": _run_torchrun, "python": _make_store}
    commands = _commands()
    assert len(commands) >= 18
    for command in commands:
        words = ["era5.zarr" if word.startswith("gs://weatherbench2/") else word for word in shlex.split(command)]
        run[words[0]](words)
    for name in ("small", "paper", "surface", "eight", "torchrun", "nature", "earth", "mine"):
        assert (workplace / "runs" / name / "checkpoint/manifest.json").is_file(), name
    assert (workplace / "checkpoints/nature-t31/README.md").is_file()


def test_the_own_configuration_is_complete_and_valid() -> None:
    (mine,) = _blocks("yaml")
    assert TrainingConfig.model_validate(yaml.safe_load(mine)).validation.select_by == "crps_72h"


def test_the_addresses_are_those_of_the_configurations() -> None:
    configurations = "".join(path.read_text() for path in (ROOT / "training/configs").glob("*.yaml"))
    addresses = set(re.findall(r"gs://[\w./-]+\.zarr", TEXT))
    assert addresses == set(re.findall(r"gs://[\w./-]+\.zarr", configurations))
    assert len(addresses) == 2
