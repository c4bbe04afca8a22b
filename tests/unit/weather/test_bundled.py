import sysconfig
from pathlib import Path

import pytest

from weather.bundled import bundled, find_checkpoint
from weather.errors import CheckpointError


def _checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_the_bundled_samples_are_two_grib_analyses_six_hours_apart(gfs_files: list[Path]) -> None:
    assert [path.name.split(".")[1] for path in gfs_files] == ["2018091418", "2018091500"]
    assert all(path.is_relative_to(bundled("samples")) for path in gfs_files)
    assert all(path.read_bytes()[:4] == b"GRIB" for path in gfs_files)


def test_what_lies_not_beside_the_code_is_looked_for_where_the_distribution_installs_it() -> None:
    assert bundled("not in the checkout") == Path(sysconfig.get_path("data")) / "share/warmcast/not in the checkout"  # type: ignore[arg-type]


def test_a_checkpoint_is_found_by_its_path(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "mine")
    assert find_checkpoint(str(folder), ()) == folder


def test_a_checkpoint_is_found_by_its_name_in_the_first_folder_that_has_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    only_second = _checkpoint(second / "b")
    in_both = [_checkpoint(folder / "a") for folder in (first, second)]
    assert find_checkpoint("a", (first, second)) == in_both[0]
    assert find_checkpoint("a", (second, first)) == in_both[1]
    assert find_checkpoint("b", (first, second)) == only_second


def test_a_path_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _checkpoint(tmp_path / "here" / "a")
    _checkpoint(tmp_path / "elsewhere" / "a")
    monkeypatch.chdir(tmp_path / "here")
    assert find_checkpoint("a", (tmp_path / "elsewhere",)) == Path("a")


def test_a_folder_without_a_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(CheckpointError, match=r"expected a folder with manifest\.json"):
        find_checkpoint("a", (tmp_path,))


def test_an_unknown_name_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    for name in ("spring", "autumn"):
        _checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="No checkpoint `winter`") as caught:
        find_checkpoint("winter", (tmp_path, tmp_path / "missing"))
    assert "'autumn'" in str(caught.value)
    assert "'spring'" in str(caught.value)
    assert "WARMCAST_CHECKPOINTS" in str(caught.value)
