from pathlib import Path

import pytest

from training.data.sources import list_data_files


def test_files_of_a_folder_are_sorted_and_other_files_left_out(tmp_path: Path) -> None:
    for name in ("b.nc", "a.nc.gz", "d.grib2", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "c.zarr").mkdir()
    assert list_data_files([tmp_path]) == [str(tmp_path / name) for name in ("a.nc.gz", "b.nc", "c.zarr", "d.grib2")]


@pytest.mark.parametrize("marker", ["zarr.json", ".zgroup"])
def test_a_store_is_taken_whole_and_paths_stay_in_their_order(marker: str, tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "folder"
    for path in (store / marker, folder / "x.nc", tmp_path / "y.any"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    paths = list_data_files([tmp_path / "y.any", "https://example.org/era5.zarr", store, folder])
    assert paths == [str(tmp_path / "y.any"), "https://example.org/era5.zarr", str(store), str(folder / "x.nc")]


def test_no_paths_give_no_files() -> None:
    assert list_data_files([]) == []
