import os
from pathlib import Path

import numpy as np
import pytest

from storage.errors import ConfigurationError
from tests.analyses import hour, write_analysis
from weather.errors import UpstreamError
from weather.upstream.dataset import Description, find_newest_pair, list_steps
from weather.upstream.folder import FolderDataset, FolderOrigin
from weather.upstream.registry import UpstreamOptions, enabled_datasets
from weather.upstream.templates import check_template, fill_template

NOON = hour("2026-03-01T12")
_STEP = np.timedelta64(6, "h")


def _dataset(folder: Path, clock: float | None = None, suffix: str = "grib2") -> FolderDataset:
    origin = FolderOrigin(folder, f"{{yyyymmddhh}}.{suffix}", 6, ("u10", "v10"), 60.0, 48, 1_000_000)
    seconds = float(NOON.astype(int)) if clock is None else clock
    return FolderDataset("mine", Description("Mine", "", ""), origin, lambda: seconds)


def test_the_newest_time_is_the_last_of_which_both_frames_are_there(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path)
    assert dataset.find_newest(NOON) is None
    write_analysis(tmp_path, NOON - 3 * _STEP)
    write_analysis(tmp_path, NOON - _STEP)
    assert dataset.find_newest(NOON) is None
    files = [write_analysis(tmp_path, NOON - 2 * _STEP), write_analysis(tmp_path, NOON)]
    assert dataset.find_newest(NOON) == NOON
    assert dataset.find_newest(NOON - np.timedelta64(1, "s")) == NOON - _STEP
    assert dataset.list_times(NOON - 9 * _STEP, NOON) == [NOON - step * _STEP for step in (3, 2, 1, 0)]
    assert dataset.fetch([NOON - 2 * _STEP, NOON]) == files


def test_a_file_that_is_cut_short_or_of_another_hour_is_not_used(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path)
    whole = write_analysis(tmp_path, NOON)
    write_analysis(tmp_path, NOON - _STEP)
    content = whole.read_bytes()
    whole.write_bytes(content[:-1])
    assert dataset.find_newest(NOON) is None
    with pytest.raises(UpstreamError, match=r"mine has no analysis of 2026-03-01T12:00: .*does not end with 7777"):
        dataset.fetch([NOON])
    whole.write_bytes(content)
    assert dataset.find_newest(NOON) == NOON
    whole.rename(tmp_path / "2026030118.grib2")
    with pytest.raises(UpstreamError, match="is of 2026-03-01T12:00 and not of 2026-03-01T18:00"):
        dataset.fetch([NOON + _STEP])


def test_a_file_of_another_format_is_whole_once_it_has_not_changed_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "2026030112.nc"
    path.write_bytes(b"CDF\x01" + bytes(100))
    for age, times in ((59, []), (61, [NOON])):
        os.utime(path, (float(NOON.astype(int)) - age,) * 2)
        assert _dataset(tmp_path, suffix="nc").list_times(NOON, NOON) == times


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>", bytes(1_000_001)])
def test_other_files_are_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "2026030112.grib2").write_bytes(content)
    assert _dataset(tmp_path, clock=2e9).list_times(NOON, NOON) == []


def test_a_folder_that_is_not_there_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="folder of data set mine cannot be read"):
        _dataset(tmp_path / "mount").find_newest(NOON)


def test_templates_name_the_day_and_the_hour() -> None:
    template = check_template("{yyyy}/{mm}/{dd}/gfs.{yyyymmdd}.t{hh}z.{yyyymmddhh}.{stream}")
    assert fill_template(template, NOON, {12: "oper"}) == "2026/03/01/gfs.20260301.t12z.2026030112.oper"
    for wrong in ("{yyyymmdd}", "{hh}", "{yyyymmdd}{hh}{step}", "{yyyymmdd}{hh", "{0}{yyyymmdd}{hh}", "{}"):
        with pytest.raises(ValueError, match=r"template|brace"):
            check_template(wrong)


def test_steps_are_counted_from_midnight() -> None:
    assert list_steps(NOON - np.timedelta64(1, "s"), NOON, 6) == [NOON]
    assert list_steps(NOON, NOON - np.timedelta64(1, "s"), 6) == []
    assert find_newest_pair([NOON]) is None


def _options(folder: Path, text: str, *names: str) -> UpstreamOptions:
    file = folder / "datasets.toml"
    file.write_text(text)
    return UpstreamOptions(names, file)


def test_definitions_of_a_file_are_enabled_by_name_and_the_bundled_states_are_always(tmp_path: Path) -> None:
    text = f'[mine]\nkind = "folder"\nfolder = "{tmp_path}"\nfile = "{{yyyymmddhh}}.grib2"\ntitle = "Mine"\n'
    assert list(enabled_datasets(_options(tmp_path, text), tmp_path)) == ["gfs", "nature-run"]
    datasets = enabled_datasets(_options(tmp_path, text, "mine"), tmp_path)
    assert [*datasets] == ["gfs", "nature-run", "mine"]
    assert datasets["mine"].description.title == "Mine"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "mine", "`mine` is no data set that is defined"),
        ("", "gfs", "`gfs` is bundled or enabled twice"),
        ('[mine]\nkind = "folder"', "mine", "data set `mine`: `folder"),
        ('[mine]\nkind = "ftp"', "mine", "data set `mine`: "),
        ('[mine]\nkind = "folder"\nfolder = "/"\nfile = "a"', "mine", "must name the day and the hour"),
        ("[Mine]", "mine", "Got: 'Mine'"),
        ("[mine", "mine", "cannot be read"),
    ],
)
def test_wrong_definitions_are_named(tmp_path: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        enabled_datasets(_options(tmp_path, text, name), tmp_path)


def test_a_bundled_state_is_found_like_any_other(tmp_path: Path) -> None:
    gfs = enabled_datasets(UpstreamOptions(), tmp_path)["gfs"]
    newest = gfs.find_newest(NOON + np.timedelta64(100, "D"))
    assert newest == hour("2026-04-20T00")
    assert gfs.list_times(newest - _STEP, newest) == [newest - _STEP, newest]
    assert len(gfs.fetch([newest - _STEP, newest])) == 1
    assert gfs.find_newest(hour("2000-01-01T00")) is None
    with pytest.raises(UpstreamError, match="has no analysis of 2000-01-01T00:00"):
        gfs.fetch([hour("2000-01-01T00")])
