import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sqlalchemy import func, select, text
from sqlalchemy.exc import DatabaseError, OperationalError

import jobs.submit
from jobs.errors import IdempotencyError, QueueFullError
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.planning.plans import Plan
from jobs.request import ForecastRequest, Output
from jobs.retention import sweep_folders
from jobs.rows.database import Database
from jobs.rows.states import Priority, Status
from jobs.rows.tables import events, forecasts, work
from jobs.submit import submit
from storage.errors import WarmcastError
from tests.helpers import random_state
from tests.rows import list_forecasts, read_forecast
from weather.ingest.exchange import load_initial_state
from weather.manifest import Sampling, read_manifest

Submit = Callable[..., ForecastRecord]


def _folders(data: Path) -> list[str]:
    return sorted(folder.name for folder in (data / "forecasts").glob("*"))


def _count_rows(database: Database) -> list[int]:
    with database.read() as connection:
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in (forecasts, work, events)]


def test_the_ensemble_of_an_accepted_forecast_can_be_opened_at_once(submit_forecast: Submit, tmp_path: Path) -> None:
    forecast = submit_forecast()
    folder = ForecastFolder(tmp_path, forecast.id)
    assert (forecast.status, forecast.lead_times, forecast.num_lead_times) == (Status.ACCEPTED, 0, 4)
    ensemble = xr.open_zarr(folder.store)
    assert dict(ensemble.sizes) | {"lead_time": 4, "number": 5} == dict(ensemble.sizes)
    assert ensemble.u10.isnull().all()
    assert not ensemble.complete.any()
    assert ensemble.init_time.values == [np.datetime64("2018-09-15T00", "ns")]
    assert load_initial_state(folder.initial_state).digest == forecast.request.initial_state_digest
    assert xr.open_zarr(folder.summary).sizes["lead_time"] == 4


def test_the_rows_are_one_forecast_its_groups_and_the_event_of_its_acceptance(
    database: Database, submit_forecast: Submit
) -> None:
    forecast = submit_forecast(owner="key_1", priority=Priority.HIGH)
    assert (forecast.owner, forecast.priority, forecast.started, forecast.error) == ("key_1", Priority.HIGH, None, None)
    assert _count_rows(database) == [1, 3, 1]
    with database.read() as connection:
        assert connection.scalar(select(forecasts.c.expected_bytes)) > 5 * 4 * 2 * 16 * 32 * 4
        assert list(connection.scalars(select(work.c.group_index).order_by(work.c.id))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (Output(), {"ensemble.zarr", "summary.zarr"}),
        (Output(keep_bits=5), {"ensemble.zarr", "summary.zarr", "frames.zarr"}),
        (Output(members=False), {"summary.zarr", "frames.zarr"}),
    ],
)
def test_the_folder_has_the_stores_of_the_output(
    output: Output, names: set[str], submit_forecast: Submit, tmp_path: Path
) -> None:
    folder = ForecastFolder(tmp_path, submit_forecast(output=output).id)
    assert {path.name for path in folder.path.folders()} - {folder.initial_state.name} == names
    if output.keep_bits:
        assert xr.open_zarr(folder.store).attrs["warmcast_keep_bits"] == 5
    elif output.members:
        assert "warmcast_keep_bits" not in xr.open_zarr(folder.store).attrs


def test_stores_of_the_same_forecast_have_the_same_identity(submit_forecast: Submit, tmp_path: Path) -> None:
    first, again, other = submit_forecast(), submit_forecast(), submit_forecast(seed=4)
    identities = []
    for forecast in (first, again, other):
        folder = ForecastFolder(tmp_path, forecast.id)
        ensemble, summary = (xr.open_zarr(path).attrs for path in (folder.store, folder.summary))
        identity = {name: value for name, value in ensemble.items() if name.startswith("warmcast_")}
        assert identity.items() <= summary.items()
        identities.append(identity)
    assert identities[0] == identities[1] != identities[2]


def test_concurrent_submissions_with_one_key_create_one_forecast(
    database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(submit_forecast(key="k").id)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 10
    assert len(set(made)) == 1
    assert _folders(tmp_path) == [made[0]]
    assert _count_rows(database) == [1, 3, 1]


def test_a_repeated_key_returns_the_first_forecast_as_not_new(
    database: Database, untrained_checkpoint: Path, make_request: Callable[..., ForecastRequest], tmp_path: Path
) -> None:
    manifest, state = read_manifest(untrained_checkpoint), random_state()
    plan = Plan.of(make_request(checkpoint_digest=manifest.digest, initial_state_digest=state.digest), manifest)
    first, first_is_new = submit(database, tmp_path, "local", plan, state, manifest, "k")
    again, again_is_new = submit(database, tmp_path, "local", plan, state, manifest, "k", Priority.HIGH)
    assert (first_is_new, again_is_new) == (True, False)
    assert again == first
    without_key, is_new = submit(database, tmp_path, "local", plan, state, manifest)
    assert is_new
    assert _folders(tmp_path) == sorted([first.id, without_key.id])


def test_a_key_identifies_one_request_of_one_owner(submit_forecast: Submit, tmp_path: Path) -> None:
    forecast = submit_forecast(key="k")
    with pytest.raises(IdempotencyError, match=f"was used for another request, forecast {forecast.id}"):
        submit_forecast(key="k", seed=4)
    assert _folders(tmp_path) == [forecast.id], "the folder of the refused forecast was left"
    assert submit_forecast(key="k", owner="bob").id != forecast.id


def test_a_repeated_key_with_an_automatic_nfe_returns_the_same_forecast_whichever_nfe_was_chosen(
    submit_forecast: Submit,
) -> None:
    automatic: dict[str, Any] = {"key": "k", "deadline_seconds": 900.0, "nfe_is_automatic": True}
    forecast = submit_forecast(**automatic, sampling=Sampling(nfe=4))
    again = submit_forecast(**automatic, sampling=Sampling(nfe=2))
    assert (again.id, again.request.sampling.nfe) == (forecast.id, 4)
    for other in ({"nfe_is_automatic": False}, {"deadline_seconds": 800.0}):
        with pytest.raises(IdempotencyError):
            submit_forecast(**automatic | {"sampling": Sampling(nfe=4)} | other)


def test_a_forecast_without_disk_space_leaves_no_folder(
    database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    with pytest.raises(WarmcastError, match="MB"):
        submit_forecast(members=1_000_000, lead_hours=60_000, group_size=1000)
    assert _folders(tmp_path) == []
    assert _count_rows(database) == [0, 0, 0]


def test_a_failed_insertion_leaves_neither_folder_nor_rows(
    database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    with database.write() as connection:
        connection.execute(text("ALTER TABLE event RENAME TO other"))
    with pytest.raises(DatabaseError):
        submit_forecast()
    assert _folders(tmp_path) == []
    with database.write() as connection:
        connection.execute(text("ALTER TABLE other RENAME TO event"))
    assert _count_rows(database) == [0, 0, 0]
    assert [submit_forecast().id] == _folders(tmp_path)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_while_the_folder_is_written_leaves_no_folder(
    interruption: type[BaseException],
    database: Database,
    submit_forecast: Submit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_arguments: object) -> None:
        assert len(_folders(tmp_path)) == 1
        raise interruption

    with monkeypatch.context() as patch:
        patch.setattr("jobs.submit.SummaryStore.create", interrupt)
        with pytest.raises(interruption):
            submit_forecast(key="k")
    assert _folders(tmp_path) == []
    assert [submit_forecast(key="k").id] == _folders(tmp_path)
    assert _count_rows(database)[0] == 1


_SUBMIT_AND_DIE = """
import os, signal, sys
from pathlib import Path
import jobs.submit
from jobs.planning.plans import Plan
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from tests.helpers import random_state
from weather.manifest import read_manifest

jobs.submit.insert_forecast = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
url, data, checkpoint, request = sys.argv[1:]
manifest = read_manifest(Path(checkpoint))
plan = Plan.of(ForecastRequest.model_validate_json(request), manifest)
jobs.submit.submit(Database(url), Path(data), "local", plan, random_state(), manifest, "k")
"""


def test_the_folder_of_a_process_that_was_killed_before_the_insertion_is_removed_after_an_hour(
    submit_small: Submit, make_request: Callable[..., ForecastRequest], untrained_checkpoint: Path, tmp_path: Path
) -> None:
    """The process is killed before it uses the database, so one kind of database suffices."""
    url = f"sqlite:///{tmp_path}/warmcast.db"
    database = Database(url)
    database.migrate()
    digest = read_manifest(untrained_checkpoint).digest
    request = make_request(checkpoint_digest=digest, initial_state_digest=random_state().digest).model_dump_json()
    killed = subprocess.run(
        [sys.executable, "-c", _SUBMIT_AND_DIE, url, str(tmp_path), str(untrained_checkpoint), request],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (abandoned,) = _folders(tmp_path)
    assert _count_rows(database) == [0, 0, 0]
    forecast = submit_small(database, tmp_path, key="k")
    sweep_folders(database, tmp_path)
    assert _folders(tmp_path) == sorted([abandoned, forecast.id]), "another process may still be writing the folder"
    folder = tmp_path / "forecasts" / abandoned
    an_hour_ago = folder.stat().st_mtime - 3700
    os.utime(folder, (an_hour_ago, an_hour_ago))
    sweep_folders(database, tmp_path)
    assert _folders(tmp_path) == [forecast.id]
    assert read_forecast(database, forecast.id).status == Status.ACCEPTED
    database.close()


def test_concurrent_submissions_do_not_exceed_the_limit_of_open_forecasts(
    database: Database, submit_forecast: Submit, tmp_path: Path
) -> None:
    def attempt(_: int) -> bool:
        try:
            submit_forecast(max_open=3)
        except QueueFullError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 3
    assert _count_rows(database)[0] == len(_folders(tmp_path)) == 3


def test_a_repeated_submission_is_returned_even_if_no_other_is_accepted(submit_forecast: Submit) -> None:
    first = submit_forecast(key="a", max_open=1)
    assert submit_forecast(key="a", max_open=1).id == first.id
    with pytest.raises(QueueFullError, match="The limit of forecasts that wait or run is reached: 1"):
        submit_forecast(key="b", max_open=1)


@pytest.mark.parametrize("is_committed", [True, False])
def test_the_folder_is_kept_if_the_rows_were_committed_although_the_answer_was_lost(
    is_committed: bool, submit_forecast: Submit, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = jobs.submit.insert_if_admitted

    def lose_the_answer(*arguments: Any) -> None:
        if is_committed:
            insert(*arguments)
        raise OperationalError("COMMIT", None, ConnectionError("lost"))

    monkeypatch.setattr(jobs.submit, "insert_if_admitted", lose_the_answer)
    with pytest.raises(OperationalError):
        submit_forecast()
    folders = [path.name for path in (tmp_path / "forecasts").iterdir()]
    assert folders == [record.id for record in list_forecasts(database, "local", None, 10)]
    assert len(folders) == is_committed
