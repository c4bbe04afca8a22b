import re
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from storage.errors import ConfigurationError
from warmcast import options
from weather.bundled import (
    DEFAULT_CHECKPOINT,
    bundled_folder,
    catalogue_states,
    find_catalogue_state,
    find_checkpoint,
    find_checkpoint_at,
    find_named_checkpoint,
)
from weather.checkpoint_files import CARD_NAME, read_license
from weather.errors import CheckpointError
from weather.manifest import read_manifest
from weather.periods import select_times


def _checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_the_bundled_grib_files_are_two_analyses_six_hours_apart(gfs_files: list[Path]) -> None:
    assert [path.name.split(".")[1] for path in gfs_files] == ["2018091418", "2018091500"]
    assert all(path.is_relative_to(bundled_folder("samples")) for path in gfs_files)
    assert all(path.read_bytes()[:4] == b"GRIB" for path in gfs_files)


@pytest.mark.parametrize(("kind", "most_bytes"), [("checkpoints", 40_000_000), ("samples", 1_500_000)])
def test_what_is_bundled_stays_small(kind: Any, most_bytes: int) -> None:
    paths = [path for path in bundled_folder(kind).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in paths) < most_bytes


def test_service_and_commands_have_the_same_default_checkpoint() -> None:
    assert options.DEFAULT_CHECKPOINT == DEFAULT_CHECKPOINT == "earth"
    assert read_manifest(find_named_checkpoint(DEFAULT_CHECKPOINT, ())).name == DEFAULT_CHECKPOINT


@pytest.mark.parametrize("name", ["earth", "planet"])
def test_a_bundled_checkpoint_has_a_card_that_states_its_source_and_a_licence(name: str) -> None:
    folder = find_named_checkpoint(name, ())
    provenance = read_manifest(folder).provenance
    card = " ".join((folder / CARD_NAME).read_text().split())
    assert card.startswith(f"# Model card: {name} ")
    assert provenance.attribution in card
    assert read_license(folder) == "Apache License"


def test_the_default_checkpoint_was_neither_trained_nor_validated_near_the_newest_sample() -> None:
    """All of its frames and of the bundled later analyses are ten days after what the checkpoint has learnt from."""
    provenance = read_manifest(find_named_checkpoint(DEFAULT_CHECKPOINT, ())).provenance
    (path,) = find_catalogue_state("gfs", None).files
    (later,) = (path.parent / "analyses").iterdir()
    with xr.open_dataset(path) as frames, xr.open_dataset(later) as truth:
        times = np.concatenate([frames.time, truth.time])
        leads = (truth.time.values - frames.time.values[-1]) / np.timedelta64(1, "h")
    assert leads.tolist() == [24, 48, 72, 120, 240]
    nearby = np.arange(times[0] - np.timedelta64(10, "D"), times[-1], np.timedelta64(1, "h"))
    used = (*provenance.train_years, *provenance.validation_years)
    assert not select_times(nearby, used).any()


def test_outside_a_checkout_the_folder_is_that_of_the_installed_distribution() -> None:
    kind: Any = "no folder of the checkout"
    assert bundled_folder(kind) == Path(sysconfig.get_path("data")) / "share/warmcast/no folder of the checkout"


def test_a_checkpoint_at_a_path_is_that_folder(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "mine")
    assert find_checkpoint_at(folder) == find_checkpoint(str(folder), ()) == folder


def test_a_checkpoint_is_found_by_its_name_in_the_first_folder_that_has_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    only_second = _checkpoint(second / "b")
    in_both = [_checkpoint(folder / "a") for folder in (first, second)]
    for find in (find_named_checkpoint, find_checkpoint):
        assert find("a", (first, second)) == in_both[0]
        assert find("a", (second, first)) == in_both[1]
        assert find("b", (first, second)) == only_second


def test_a_folder_in_the_working_directory_is_used_as_a_path_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "planet"):
        _checkpoint(tmp_path / "working" / name)
    named = _checkpoint(tmp_path / "elsewhere" / "a")
    monkeypatch.chdir(tmp_path / "working")
    assert find_checkpoint("a", (tmp_path / "elsewhere",)) == named
    assert find_checkpoint("planet", ()) == bundled_folder("checkpoints") / "planet"
    for path in ("./planet", "planet/", str(tmp_path / "working/planet")):
        assert find_checkpoint(path, ()).resolve() == tmp_path / "working/planet"
    with pytest.raises(CheckpointError, match=r"text with a slash is a path, such as \./folder"):
        find_checkpoint("a", ())


@pytest.mark.parametrize("name", ["..", "../mine", "/", ""])
def test_a_name_is_not_a_path(tmp_path: Path, name: str) -> None:
    _checkpoint(tmp_path / "mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="No checkpoint is named"):
        find_named_checkpoint(name, (tmp_path / "folder",))


def test_a_folder_without_a_manifest_is_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for find in (find_checkpoint_at, lambda path: find_checkpoint(str(path), ())):
        with pytest.raises(CheckpointError, match=r"expected a folder with manifest\.json"):
            find(tmp_path / "a")
    with pytest.raises(CheckpointError, match="No checkpoint is named `a`"):
        find_checkpoint("a", (tmp_path,))


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    for name in ("spring", "autumn"):
        _checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"`winter`. Expected one of: autumn, .*spring.*WARMCAST_CHECKPOINTS"):
        find_checkpoint("winter", (tmp_path, tmp_path / "missing"))


def test_the_newest_state_of_a_data_set_is_the_default() -> None:
    older, newest = [state for state in catalogue_states() if state.dataset == "gfs"]
    assert find_catalogue_state("gfs", None) == find_catalogue_state("gfs", newest.init_time) == newest
    assert (older.init_time, newest.init_time) == ("2018-09-15T00", "2026-04-20T00")
    assert {path.suffix for path in older.files} == {".grib2"}
    assert {path.parent.name for path in newest.files} == {"gfs_2026-04-20T00"}  # without the later analyses


@pytest.mark.parametrize(
    ("dataset", "init_time", "location", "message"),
    [
        ("era5", None, ("dataset",), "`dataset` must be one of the catalogue: gfs, nature-run. Got: 'era5'."),
        ("era5", "2018-09-15T00", ("dataset",), "Got: 'era5'."),
        ("gfs", "1950-01-01T00", ("init_time",), "has of gfs: 2018-09-15T00, 2026-04-20T00. Got: '1950-01-01T00'."),
        ("gfs", "yesterday", ("init_time",), "must be a time such as 2018-09-15T00. Got: 'yesterday'."),
    ],
)
def test_an_unknown_state_is_refused_with_the_known_ones(
    dataset: str, init_time: str | None, location: tuple[str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        find_catalogue_state(dataset, init_time)
    assert caught.value.location == location
