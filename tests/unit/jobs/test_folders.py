from pathlib import Path

import pytest

from jobs.folders import ForecastFolder
from storage.paths import storage_path


@pytest.fixture
def folder(tmp_path: Path) -> ForecastFolder:
    return ForecastFolder(tmp_path, "fc_1")


def _names(folder: ForecastFolder) -> set[str]:
    return {name for name, _ in folder.path.files()}


def test_all_paths_are_inside_the_folder_of_the_forecast(folder: ForecastFolder, tmp_path: Path) -> None:
    paths = (folder.initial_state, folder.store, folder.summary, folder.frames, folder.receipt, folder.attempt(3, 7))
    assert str(folder.path) == str(tmp_path / "forecasts" / "fc_1")
    assert all(str(path).startswith(f"{folder.path}/") for path in paths)
    assert len({str(path) for path in paths}) == len(paths)


def test_a_folder_is_the_same_for_a_path_and_a_storage_path(tmp_path: Path) -> None:
    assert str(ForecastFolder(tmp_path, "fc_1").store) == str(ForecastFolder(storage_path(tmp_path), "fc_1").store)


def test_attempts_of_a_group_are_yielded_latest_first(folder: ForecastFolder) -> None:
    for group, epoch in ((1, 9), (1, 10), (1, 2), (11, 3), (2, 4)):
        (folder.attempt(group, epoch) / "c").write(b"")
    assert [path.name for path in folder.attempts(1)] == ["1.10", "1.9", "1.2"]
    assert [path.name for path in folder.attempts(11)] == ["11.3"]
    assert list(folder.attempts(0)) == []


def test_a_forecast_without_attempts_has_none(folder: ForecastFolder) -> None:
    assert list(folder.attempts(0)) == []


def test_each_claim_of_a_group_has_its_own_folder(folder: ForecastFolder) -> None:
    claims = [(group, epoch) for group in range(12) for epoch in range(1, 12)]
    assert len({str(folder.attempt(*claim)) for claim in claims}) == len(claims)


def test_clearing_attempts_keeps_the_stores_that_clients_read(folder: ForecastFolder) -> None:
    for path in (folder.initial_state, folder.store / "c", folder.summary / "c", folder.receipt):
        path.write(b"kept")
    kept = _names(folder)
    for path in (folder.attempt(0, 1) / "c", folder.attempt(0, 2) / "c", folder.frames / "u10" / "c"):
        path.write(b"for workers")
    folder.clear_attempts()
    assert _names(folder) == kept
    folder.clear_attempts()
    assert _names(folder) == kept


def test_clearing_attempts_of_one_forecast_leaves_those_of_another(folder: ForecastFolder, tmp_path: Path) -> None:
    other = ForecastFolder(tmp_path, "fc_2")
    for each in (folder, other):
        (each.attempt(0, 1) / "c").write(b"")
    folder.clear_attempts()
    assert len(list(other.attempts(0))) == 1
