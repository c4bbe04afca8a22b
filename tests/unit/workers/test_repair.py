"""Damage to each kind of file of a computed forecast is found, and repaired to the same bytes where that can be."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobs.checks import count_damaged, list_damaged
from jobs.commands import scrub_forecasts
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.request import Output
from jobs.rows.database import Database
from jobs.settings import Settings
from models.noise import white_noise
from tests.rows import read_forecast
from weather.stores import ensemble, summary
from weather.stores.layout import ensemble_attributes
from weather.stores.summary_layout import summary_attributes
from workers.loop import Worker
from workers.repair import repair_forecasts

Submit = Callable[..., ForecastRecord]

EXACT, ROUNDED, SUMMARY_ONLY = Output(), Output(keep_bits=10), Output(members=False)
NAMES = (
    "ensemble.zarr/u10/c.0.2.1.0.0",
    "ensemble.zarr/u10/c.0.1.1.0.0",
    "ensemble.zarr/v10/c.0.0.2.0.0",
    "ensemble.zarr/complete/c.3.1",
    "ensemble.zarr/latitude/c.0",
    "ensemble.zarr/u10/c.0.3.0.0.0",
    "ensemble.zarr/u10/zarr.json",
    "ensemble.zarr/complete/zarr.json",
    "summary.zarr/u10_mean/c.0.1.0.0",
    "summary.zarr/u10_quantiles/c.0.2.0.0.0",
    "summary.zarr/members/c.2",
    "summary.zarr/u10_spread/c.0.0.0.0",
)


@pytest.fixture
def compute(
    settings: Settings, database: Database, worker: Worker, submit_forecast: Submit, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Output], Path]:
    """Compute a forecast with the given output, and return its folder; commands then use the same data."""
    monkeypatch.setenv("WARMCAST_DATA", str(settings.storage.data))
    monkeypatch.setenv("WARMCAST_DEVICE", "cpu")

    def compute(output: Output) -> Path:
        record = submit_forecast(output=output)
        while worker.run():
            pass
        assert read_forecast(database, record.id).receipt is not None
        return Path(settings.storage.data, "forecasts", record.id)

    return compute


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _remove(path: Path) -> None:
    path.unlink()


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _exchange(path: Path) -> None:
    """Replace a file by another intact one of the same kind."""
    other = next(file for file in sorted(path.parent.parent.rglob(f"{path.name[:1]}*")) if _differs(file, path))
    shutil.copy(other, path)


def _differs(file: Path, other: Path) -> bool:
    return file.is_file() and file.read_bytes() != other.read_bytes()


DAMAGES = (_flip, _empty, _cut, _remove, _make_folder, _exchange)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _ignore(_: dict[str, Any]) -> None:
    """Ignore the result of one forecast."""


def _scrub(unchecked_days: float = 0.0, report: Callable[[dict[str, Any]], None] = _ignore) -> dict[str, Any]:
    return scrub_forecasts(
        forecast_ids=[], unchecked_days=unchecked_days, bytes_per_second=1e12, data=None, report=report
    )


def _repair(*forecast_ids: str) -> dict[str, Any]:
    return repair_forecasts(forecast_ids=forecast_ids, data=None, report=lambda _: None)


def _repair_now(folder: Path) -> dict[str, Any]:
    (result,) = _repair(folder.name)["forecasts"]
    assert isinstance(result, dict)
    return result


def _list_damaged(database: Database) -> list[str]:
    with database.read() as connection:
        return list_damaged(connection)


@pytest.mark.parametrize("output", [EXACT, ROUNDED, SUMMARY_ONLY], ids=["exact", "rounded", "summary only"])
def test_every_damage_is_found_and_repaired_to_the_same_bytes(
    compute: Callable[[Output], Path], database: Database, output: Output
) -> None:
    folder = compute(output)
    before = _content(folder)
    assert _scrub()["damaged"] == []
    names = [name for name in NAMES if output.members or name.startswith("summary")]
    for index, name in enumerate(names):
        DAMAGES[index % len(DAMAGES)](folder / name)
    (checked,) = _scrub()["checked"]
    assert {entry["file"] for entry in checked["damage"]} == set(names)
    assert _list_damaged(database) == [folder.name]
    (repaired,) = _repair()["forecasts"]
    assert (set(repaired["repaired"]), repaired["damage"], repaired["reason"]) == (set(names), [], None)
    assert _content(folder) == before
    assert _list_damaged(database) == []


@pytest.mark.parametrize("name", ["summary.zarr/zarr.json", "ensemble.zarr/zarr.json"])
def test_the_metadata_of_one_store_is_made_from_that_of_the_other(compute: Callable[[Output], Path], name: str) -> None:
    folder = compute(ROUNDED)
    before = _content(folder)
    _remove(folder / name)
    assert _repair_now(folder)["damage"] == []
    assert _content(folder) == before


def test_metadata_of_an_earlier_version_is_made_as_that_made_it(
    compute: Callable[[Output], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stores have no attributes of `proj` and `spatial`."""
    with monkeypatch.context() as earlier:
        earlier.setattr(ensemble, "ensemble_attributes", partial(ensemble_attributes, is_placed=False))
        earlier.setattr(summary, "summary_attributes", partial(summary_attributes, is_placed=False))
        folder = compute(EXACT)
    before = _content(folder)
    _remove(folder / "summary.zarr/zarr.json")
    assert _repair_now(folder)["damage"] == []
    assert _content(folder) == before


def test_receipt_list_and_zip_are_made_anew_by_the_check(compute: Callable[[Output], Path]) -> None:
    folder = compute(EXACT)
    before = _content(folder)
    for damage in DAMAGES[:5]:
        (folder / "ensemble.zarr.zip").write_bytes(b"not the zip")
        for name in ("receipt.json", "files.json"):
            damage(folder / name)
        (checked,) = _scrub()["checked"]
        names = {"receipt.json", "files.json", "ensemble.zarr.zip"}
        assert (checked["damage"], set(checked["renewed"])) == ([], names)
        assert _content(folder) == before


@pytest.mark.parametrize("name", ["initial_state.npy", "initial_state.json"])
def test_a_damaged_initial_state_is_found_and_said_to_be_lost(compute: Callable[[Output], Path], name: str) -> None:
    folder = compute(ROUNDED)
    path = folder / "initial_state" / name
    intact = path.read_bytes()
    _remove(folder / NAMES[0])
    for damage in DAMAGES[:5]:
        damage(path)
        assert len(_scrub()["checked"][0]["damage"]) == 2
        if path.is_dir():
            path.rmdir()
        path.write_bytes(intact)
    _flip(path)
    result = _repair_now(folder)
    assert len(result["damage"]) == 2
    assert "cannot be computed without it" in result["reason"]


def test_values_that_another_computation_gives_are_not_kept(
    compute: Callable[[Output], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = compute(EXACT)
    _remove(folder / NAMES[0])
    monkeypatch.setattr("models.noise.white_noise", lambda seed, *rest: white_noise(seed + 1, *rest))
    result = _repair_now(folder)
    assert (result["repaired"], [entry["file"] for entry in result["damage"]]) == ([], [NAMES[0]])
    assert "not those that were lost" in result["reason"]
    assert not (folder / NAMES[0]).exists()


def test_a_check_that_was_interrupted_continues(compute: Callable[[Output], Path]) -> None:
    folders = [compute(EXACT) for _ in range(3)]
    seen: list[str] = []

    def stop(check: dict[str, Any]) -> None:
        seen.append(check["id"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _scrub(1.0, stop)
    seen += [check["id"] for check in _scrub(unchecked_days=1.0)["checked"]]
    assert sorted(seen) == sorted(folder.name for folder in folders)
    assert _scrub(unchecked_days=1.0)["checked"] == []


def test_damage_that_went_away_is_no_longer_counted(compute: Callable[[Output], Path], database: Database) -> None:
    folder = compute(EXACT)
    path = folder / NAMES[0]
    path.rename(path.with_suffix(".away"))
    _scrub()
    with database.read() as connection:
        assert count_damaged(connection) == 1
    path.with_suffix(".away").rename(path)
    _scrub()
    with database.read() as connection:
        assert count_damaged(connection) == 0


def test_the_list_is_made_once_and_named_by_the_receipt(compute: Callable[[Output], Path], database: Database) -> None:
    folder = compute(EXACT)
    record = read_forecast(database, folder.name)
    listed = json.loads(ForecastFolder(folder.parents[1], record.id).files.read_bytes())
    stored = {name for name in _content(folder) if "/" in name}
    assert set(listed) == stored
    assert record.receipt is not None
    assert len(record.receipt["files_digest"]) == 64
