import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from models.networks import Networks
from storage.errors import ConfigurationError
from tests.unit.training.tiny import fit, tiny_config
from training.config import TrainingConfig, find_config, read_config
from training.start import Start
from training.train import load_data, train
from warmcast.cli import app
from weather.bundled import find_named_checkpoint
from weather.checkpoint_card import render_card
from weather.errors import TrainingDataError
from weather.grids import gaussian_grid
from weather.manifest import Manifest, read_manifest

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("closed_data")
DAILY = ("local_time_cos", "sin_latitude", "local_time_sin")


def _config(*, steps: int = 0, data: dict[str, Any] | None = None, **changes: Any) -> TrainingConfig:
    raw = tiny_config()
    parts = {
        name: raw[name] | {"optimiser": raw[name]["optimiser"] | {"steps": steps}} for name in ("warm_start", "flow")
    }
    return TrainingConfig.model_validate(raw | parts | {"data": raw["data"] | (data or {})} | changes)


def _train(
    config: TrainingConfig, files: list[Path], output: Path, start: Path, note: Callable[[str], None] = lambda _: None
) -> Manifest:
    return train(config, files, output, start, resume=False, report=lambda _: None, note=note)


@pytest.fixture(scope="module")
def start(two_years: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a few steps, so that all of its layers affect its forecasts."""
    output = tmp_path_factory.mktemp("start")
    train(_config(steps=4), two_years, output, None, resume=False, report=lambda _: None)
    return output / "checkpoint"


@pytest.fixture(scope="module")
def windy(two_years: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same years with winds of twice the speed, and without static fields."""
    folder = tmp_path_factory.mktemp("windy")
    for file in two_years:
        with xr.open_dataset(file) as year:
            (2 * year[["u10", "v10"]]).to_netcdf(folder / file.name)
    return sorted(folder.iterdir())


def _forecast(networks: Networks) -> torch.Tensor:
    """Return two members one time step after fixed frames, with fixed noise."""
    draw = torch.Generator().manual_seed(0)
    frames = [5 * torch.randn(2, 2, 16, 32, generator=draw) for _ in range(2)]
    forecaster = Forecaster(networks, _config().sampling, CPU)
    return forecaster.step(frames, np.datetime64("2001-01-03T06", "s"), torch.randn(2, 2, 16, 32, generator=draw))


def test_new_features_do_not_change_the_function_and_are_trained(
    start: Path, two_years: list[Path], tmp_path: Path
) -> None:
    _train(_config(features=DAILY), two_years, tmp_path / "same", start)
    before, same = (load_checkpoint(folder, CPU)[0] for folder in (start, tmp_path / "same/checkpoint"))
    assert same.spec.features == DAILY
    torch.testing.assert_close(_forecast(same), _forecast(before), rtol=0, atol=2e-5)
    _train(_config(features=DAILY, steps=3), two_years, tmp_path / "more", start)
    more, _ = load_checkpoint(tmp_path / "more/checkpoint", CPU)
    for name, weight in more.warm_start.state_dict().items():
        assert weight.shape == same.warm_start.state_dict()[name].shape
    for part in ("warm_start", "flow"):
        for name, (others, for_each) in getattr(more, part).net.input_weights.items():
            weight = getattr(more, part).state_dict()[f"net.{name}"]
            channel = weight.shape[1] - others - for_each * (3 if part == "warm_start" else 7)
            added = weight[:, others + channel : others + channel + for_each]
            assert (added != 0).any(), (part, name)


def test_colour_and_damping_do_not_keep_a_checkpoint_from_being_trained_and_are_left_out(
    start: Path, two_years: list[Path], tmp_path: Path
) -> None:
    fitted = shutil.copytree(start, tmp_path / "fitted")
    fit(fitted)
    notes: list[str] = []
    trained = _train(_config(), two_years, tmp_path / "run", fitted, notes.append).model
    assert (trained.colour, trained.damping) == (None, None)
    for part, note in zip(("colour", "damping"), notes[-2:], strict=True):
        assert f"The {part} of the checkpoint is left out, because it fits its weights alone" in note


@pytest.mark.parametrize("config", ["planet", "earth"])
def test_the_bundled_planet_can_be_trained_further(config: str) -> None:
    start = Start.read(find_named_checkpoint("planet", ()))
    assert start.check(read_config(find_config(Path(config))), gaussian_grid("t31")) == start.model.extremes


def test_data_without_static_fields_take_those_of_the_checkpoint(
    start: Path, windy: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(TrainingDataError, match=r"2000\.nc` has no static field `orography`"):
        load_data(_config(), windy)
    notes: list[str] = []
    _train(_config(), windy, tmp_path / "run", start, notes.append)
    before, after = (load_checkpoint(folder, CPU)[0] for folder in (start, tmp_path / "run/checkpoint"))
    assert torch.equal(before.context.static, after.context.static)
    assert "Static fields (orography) are those of the checkpoint." in notes
    assert notes[0].startswith("The training starts from tiny, SHA-256 ")


def test_a_source_of_static_fields_replaces_those_of_the_checkpoint(
    start: Path, two_years: list[Path], windy: list[Path], tmp_path: Path
) -> None:
    with xr.open_dataset(two_years[0]) as year:
        (year[["orography"]] ** 2).to_netcdf(tmp_path / "other.nc")
    config = _config(data={"static_source": str(tmp_path / "other.nc")})
    _train(config, windy, tmp_path / "run", start)
    static = load_checkpoint(tmp_path / "run/checkpoint", CPU)[0].context.static
    with load_data(config, windy) as data:
        assert torch.equal(static, torch.from_numpy(data.static))
    assert not torch.equal(static, load_checkpoint(start, CPU)[0].context.static)


def test_the_normalisation_is_kept_or_that_of_the_data_and_extremes_are_joined(
    start: Path, windy: list[Path], tmp_path: Path
) -> None:
    before, other = read_manifest(start).model, {"description": "windier"}
    kept = _train(_config(data=other), windy, tmp_path / "kept", start).model
    assert kept.variables == before.variables
    changed = _train(_config(data=other | {"normalisation": "data"}), windy, tmp_path / "changed", start).model
    for old, new in zip(before.variables, changed.variables, strict=True):
        assert new.std == pytest.approx(2 * old.std, rel=1e-3)
    for model in (kept, changed):
        assert before.extremes is not None
        assert model.extremes is not None
        assert model.extremes.num_frames == 2 * before.extremes.num_frames
        assert model.extremes.wind_speed is not None
        assert before.extremes.wind_speed is not None
        assert model.extremes.wind_speed.high == pytest.approx(2 * before.extremes.wind_speed.high, rel=1e-3)


def test_frames_of_a_record_on_which_the_training_goes_on_count_once(
    start: Path, two_years: list[Path], tmp_path: Path
) -> None:
    assert _train(_config(), two_years, tmp_path / "run", start).model.extremes == read_manifest(start).model.extremes


def test_the_manifest_and_the_card_say_where_the_training_started(
    start: Path, windy: list[Path], tmp_path: Path
) -> None:
    data = {"train_years": ["2000-12-25/2000-12-30T12"], "validation_years": ["2001-01-02/2001-01-31"]}
    manifest = _train(_config(data=data | {"attribution": "My centre."}), windy, tmp_path / "run", start)
    made, earlier = manifest.provenance, read_manifest(start)
    assert (made.train_years, made.validation_years) == (("2000-12-25/2000-12-30T12",), ("2001-01-02/2001-01-31",))
    assert made.started_from is not None
    assert (made.started_from.name, made.started_from.digest) == ("tiny", earlier.digest)
    assert made.started_from.train_years == (2000,)
    card = render_card(read_manifest(tmp_path / "run/checkpoint"), None)
    assert "Training years: 2000-12-25/2000-12-30T12; validation years: 2001-01-02/2001-01-31." in card
    assert f"It started from the weights of tiny, SHA-256 {earlier.digest}, trained on travelling waves, 2000." in card
    assert "**Attribution.** My centre. invented" in card
    printed = CliRunner().invoke(app, ["checkpoint", "inspect", f"{tmp_path}/run/checkpoint"]).stdout
    assert "2001-01-02/2001-01-31" in printed
    assert "started from" in printed


def test_the_start_may_be_the_name_of_a_checkpoint_in_a_folder_of_them(
    start: Path, windy: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine").symlink_to(start)
    (tmp_path / "config.yaml").write_text(_config().model_dump_json())
    words = ["train", f"{tmp_path}/config.yaml", "--from", "mine", "--output", f"{tmp_path}/run"]
    words += [word for file in windy for word in ("--data", str(file))]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "No checkpoint is named `mine`" in refused.stderr
    result = CliRunner().invoke(app, [*words, "--checkpoints", f"{tmp_path}/folder"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "The training starts from tiny, SHA-256" in result.stderr
    assert read_manifest(tmp_path / "run/checkpoint").provenance.started_from is not None


def test_a_grid_that_is_not_the_checkpoints_is_refused_with_the_field_to_set(
    start: Path, windy: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"they differ in grid\. The data is on 48 × 96 .*; see `data\.grid`\."
    ):
        _train(_config(data={"grid": "t31"}), windy, tmp_path / "run", start)
    with pytest.raises(ConfigurationError, match=r"differ in features\. `features` must have sin_latitude\."):
        _train(_config(features=("season_sin",)), windy, tmp_path / "run", start)
    assert not (tmp_path / "run").exists()
