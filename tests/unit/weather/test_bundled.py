import re
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConfigurationError
from weather.bundled import (
    bundled_folder,
    catalogue_states,
    find_catalogue_state,
    find_checkpoint,
    find_checkpoint_at,
    find_named_checkpoint,
)
from weather.errors import CheckpointError


def _checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_the_bundled_samples_are_two_grib_analyses_six_hours_apart(gfs_files: list[Path]) -> None:
    assert [path.name.split(".")[1] for path in gfs_files] == ["2018091418", "2018091500"]
    assert all(path.is_relative_to(bundled_folder("samples")) for path in gfs_files)
    assert all(path.read_bytes()[:4] == b"GRIB" for path in gfs_files)


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
    newest = [state for state in catalogue_states() if state.dataset == "gfs"][-1]
    assert find_catalogue_state("gfs", None) == find_catalogue_state("gfs", newest.init_time) == newest
    assert len(newest.files) == 2


@pytest.mark.parametrize(
    ("dataset", "init_time", "location", "message"),
    [
        ("era5", None, ("dataset",), "`dataset` must be one of the catalogue: gfs, nature-run. Got: 'era5'."),
        ("era5", "2018-09-15T00", ("dataset",), "Got: 'era5'."),
        ("gfs", "1950-01-01T00", ("init_time",), "has of gfs: 2018-09-15T00. Got: '1950-01-01T00'."),
        ("gfs", "yesterday", ("init_time",), "must be a time such as 2018-09-15T00. Got: 'yesterday'."),
    ],
)
def test_an_unknown_state_is_refused_with_the_known_ones(
    dataset: str, init_time: str | None, location: tuple[str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        find_catalogue_state(dataset, init_time)
    assert caught.value.location == location
