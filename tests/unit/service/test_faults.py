"""Every refusal of a body points at each wrong field of it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.forecasts import ForecastRecord
from jobs.settings import Settings
from models.testing import tiny_spec
from service.app import create_app
from service.faults import Faults, RequestFaultsError, located_at
from service.problems import QUEUE_FULL, TOO_LARGE, VALIDATION, ServiceError
from storage.errors import ConfigurationError
from tests.in_process import InProcess, run_in_process
from tests.served import small_request
from weather.errors import CheckpointError
from weather.testing import travelling_waves

CATALOGUE = {"source": "catalogue", "dataset": "nature-run"}
MISSING: Any = object()
FILE = ("initial_state", ("a.nc", b"CDF\x01"))

INVALID_BODIES: list[tuple[dict[str, Any], int, dict[str, str]]] = [
    ({"model": "../planet"}, 422, {"/model": "String should match pattern"}),
    ({"model": "nobody"}, 404, {"/model": "No checkpoint is named `nobody`. Expected one of:"}),
    ({"initial_state": MISSING}, 422, {"/initial_state": "Field required."}),
    ({"initial_state": {}}, 422, {"/initial_state": "'source' must be one of: catalogue, "}),
    ({"initial_state": {"source": "wind"}}, 422, {"/initial_state": "'wind'"}),
    ({"initial_state": {"source": "catalogue"}}, 422, {"/initial_state/dataset": "Field required."}),
    ({"initial_state": CATALOGUE | {"a/b~c": 1}}, 422, {"/initial_state/a~1b~0c": "Unknown field"}),
    ({"initial_state": {"source": "catalogue", "dataset": 3}}, 422, {"/initial_state/dataset": "Got: 3."}),
    (
        {"initial_state": {"source": "catalogue", "dataset": "era5"}},
        422,
        {"/initial_state/dataset": "`dataset` must be one of the catalogue: gfs, nature-run. Got: 'era5'."},
    ),
    (
        {"initial_state": CATALOGUE | {"init_time": "1950-01-01T00"}},
        422,
        {"/initial_state/init_time": "`init_time` must be one that the catalogue has of nature-run:"},
    ),
    (
        {"initial_state": CATALOGUE | {"init_time": "today"}},
        422,
        {"/initial_state/init_time": "`init_time` must be a time such as 2018-09-15T00. Got: 'today'."},
    ),
    ({"initial_state": {"source": "upload"}}, 422, {"/initial_state/source": "if and only if the request contains"}),
    (
        {"lead_time": "soon"},
        422,
        {"/lead_time": "`lead_time` must be hours or days, such as 120h or 5d, with at most 5 digits. Got: 'soon'."},
    ),
    ({"lead_time": "7h"}, 422, {"/lead_time": "`lead_time` must be a positive multiple of 6h. Got: '7h'."}),
    ({"lead_time": "0h"}, 422, {"/lead_time": "`lead_time` must be a positive multiple of 6h. Got: '0h'."}),
    ({"lead_time": "61d"}, 422, {"/lead_time": "`lead_time` must be at most 360h. Got: '61d'."}),
    ({"lead_time": 24}, 422, {"/lead_time": "valid string, such as '120h' or '5d'. Got: 24."}),
    ({"members": 0}, 422, {"/members": "greater than or equal to 1. Got: 0."}),
    ({"members": 1001}, 422, {"/members": "`members` must be at most 1000 members. Got: 1001."}),
    ({"seed": -1}, 422, {"/seed": "greater than or equal to 0. Got: -1."}),
    ({"sampler": {"solver": "heun"}}, 422, {"/sampler/solver": "'euler', 'midpoint' or 'single'. Got: 'heun'."}),
    (
        {"sampler": {"solver": "midpoint", "nfe": 3}},
        422,
        {"/sampler/nfe": "`nfe` must be a positive multiple of 2 for the midpoint solver. Got: 3."},
    ),
    (
        {"model": "earth", "sampler": {"nfe": 4}},
        422,
        {"/sampler/nfe": "`nfe` must be 1 for the single solver; the others take more. Got: 4."},
    ),
    ({"sampler": {"nfe": 0}}, 422, {"/sampler/nfe": "greater than or equal to 1. Got: 0. Or: Input should be 'auto'."}),
    ({"sampler": {"warmth": 1.5}}, 422, {"/sampler/warmth": "less than or equal to 1. Got: 1.5."}),
    ({"deadline_seconds": 0}, 422, {"/deadline_seconds": "greater than or equal to 1. Got: 0."}),
    ({"priority": "urgent"}, 422, {"/priority": "'low', 'normal' or 'high'. Got: 'urgent'."}),
    ({"summary": {"quantiles": [0.5, 1.5]}}, 422, {"/summary/quantiles/1": "Got: 1.5."}),
    (
        {"summary": {"quantiles": [0.5, 0.5]}},
        422,
        {"/summary/quantiles": "`quantiles` must be different from each other. Got: [0.5, 0.5]."},
    ),
    (
        {"summary": {"exceedance": [{"variable": "u10", "value": 1}, {"variable": "t2m", "value": 1}]}},
        422,
        {"/summary/exceedance/1/variable": "`exceedance` may name u10, v10, wind_speed_10m. Got: 't2m'."},
    ),
    ({"output": {"keep_bits": 24}}, 422, {"/output/keep_bits": "less than or equal to 23. Got: 24."}),
    (
        {"output": {"members": False, "keep_bits": 7}},
        422,
        {"/output/keep_bits": "`keep_bits` must be null if `members` is false: no members are stored. Got: 7."},
    ),
    ({"lead": "24h"}, 422, {"/lead": "Got: '24h'."}),
    (
        {"members": 0, "lead_time": 3, "output": {"keep_bits": 24}},
        422,
        {"/members": "Got: 0.", "/lead_time": "Got: 3.", "/output/keep_bits": "Got: 24."},
    ),
    (
        {
            "members": 1001,
            "lead_time": "7h",
            "sampler": {"nfe": 3},
            "initial_state": {"source": "catalogue", "dataset": "era5"},
            "summary": {"exceedance": [{"variable": "t2m", "value": 1}]},
        },
        422,
        {
            "/members": "Got: 1001.",
            "/lead_time": "Got: '7h'.",
            "/sampler/nfe": "Got: 3.",
            "/initial_state/dataset": "Got: 'era5'.",
            "/summary/exceedance/0/variable": "Got: 't2m'.",
        },
    ),
    (
        {"model": "nobody", "lead_time": "61d"},
        422,
        {"/model": "No checkpoint is named `nobody`", "/lead_time": "Got: '61d'."},
    ),
]


@pytest.fixture(scope="module")
def shared_api(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """One service for all requests that are refused."""
    settings = Settings.of(
        data=tmp_path_factory.mktemp("shared"),
        checkpoints=str(untrained_checkpoint.parent),
        max_store_bytes=200_000_000,
        reconcile_seconds=3600,
    )
    with run_in_process(create_app(settings, with_worker=False)) as api:
        yield api


def _check(response: Any, status: int, expected: dict[str, str]) -> None:
    problem = response.json()
    assert response.status_code == status, problem
    assert {error["pointer"] for error in problem["errors"]} == expected.keys(), problem
    for error in problem["errors"]:
        assert expected[error["pointer"]] in error["detail"], error
        assert error["detail"] in problem["detail"]


@pytest.mark.parametrize(("fields", "status", "expected"), INVALID_BODIES)
def test_a_problem_points_at_each_wrong_field_of_the_body(
    shared_api: InProcess, fields: dict[str, Any], status: int, expected: dict[str, str]
) -> None:
    body = {name: value for name, value in small_request(**fields).items() if value is not MISSING}
    _check(shared_api.post("/forecast", json=body), status, expected)


def test_a_forecast_that_is_too_large_points_at_its_members(shared_api: InProcess) -> None:
    response = shared_api.post("/forecast", json=small_request(members=1000, lead_time="360h"))
    _check(response, 413, {"/members": " bytes, of 1000 members and 60 lead times."})
    assert "at most 200000000 bytes before compression" in response.json()["detail"]


@pytest.mark.parametrize(
    ("text", "detail"),
    [(text, "The JSON is malformed: ") for text in ("", "{", '{"members": NaN', "[" * 1000)]
    + [(text, "Got: ") for text in ("[]", "3", "null")],
)
def test_a_body_that_is_not_an_object_is_pointed_at_as_a_whole(shared_api: InProcess, text: str, detail: str) -> None:
    response = shared_api.post("/forecast", content=text, headers={"Content-Type": "application/json"})
    _check(response, 422, {"": detail})
    _check(shared_api.post("/forecast", data={"request": text}, files=[FILE]), 422, {"": detail})


def _upload(shared_api: InProcess, contents: list[bytes], **fields: Any) -> Any:
    body = small_request(**{"initial_state": {"source": "upload"}} | fields)
    files = [("initial_state", (f"{index}.nc", content)) for index, content in enumerate(contents)]
    return shared_api.post("/forecast", data={"request": json.dumps(body)}, files=files)


@pytest.fixture
def frames(tmp_path: Path) -> bytes:
    times = [np.datetime64("2018-09-14T18", "s"), np.datetime64("2018-09-15T00", "s")]
    travelling_waves(tiny_spec().grid.grid, times).to_netcdf(tmp_path / "state.nc")
    return (tmp_path / "state.nc").read_bytes()


def test_a_wrong_file_is_pointed_at_by_the_name_of_its_part(shared_api: InProcess, frames: bytes) -> None:
    _check(_upload(shared_api, [b"Dear sirs"]), 415, {"/initial_state": "`0.nc` must be"})
    _check(_upload(shared_api, [frames[:2000]]), 422, {"/initial_state": "0.nc"})
    _check(
        _upload(shared_api, [frames], initial_state={"source": "upload", "init_time": "2018-09-16T00"}),
        422,
        {"/initial_state": "0.nc"},
    )


def test_a_request_with_files_is_pointed_at_in_its_json(shared_api: InProcess, frames: bytes) -> None:
    _check(_upload(shared_api, [frames], members=0), 422, {"/members": "Got: 0."})
    wrong_time = {"source": "upload", "init_time": "noon"}
    _check(_upload(shared_api, [frames], initial_state=wrong_time), 422, {"/initial_state/init_time": "Got: 'noon'."})
    _check(_upload(shared_api, [frames], initial_state=CATALOGUE), 422, {"/initial_state/source": "Got: 'catalogue'"})


def test_an_incomplete_or_overfull_form_is_refused_with_the_parts_it_needs(shared_api: InProcess) -> None:
    needed = "one field `request` and 1 to 8 files `initial_state`"
    _check(shared_api.post("/forecast", files=[FILE]), 422, {"/request": needed})
    without_files = {"files": [("request", (None, "{}"))]}
    _check(shared_api.post("/forecast", **without_files), 422, {"/initial_state": needed})
    _check(
        shared_api.post("/forecast", files=[("other", (None, "{}"))]),
        422,
        {"/request": needed, "/initial_state": needed},
    )
    overfull = shared_api.post("/forecast", data={"request": "{}"}, files=[FILE] * 9)
    _check(overfull, 422, {"": "at most 8 files. Got: Too many files."})
    assert overfull.json()["type"] == "/problems/validation"


@pytest.fixture
def record(submit_forecast: Callable[..., ForecastRecord]) -> ForecastRecord:
    """A forecast with the members 0 to 4."""
    return submit_forecast()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"members": [5]}, {"/members/0": "`members` must be numbers of members of forecast fc_"}),
        ({"members": [0, 9, 4, 7]}, {"/members/1": ", 0 to 4. Got: 9.", "/members/3": "Got: 7."}),
        ({"members": [0, -1]}, {"/members/1": "greater than or equal to 0. Got: -1."}),
        ({"members": []}, {"/members": "at least 1 item"}),
        ({"members": [-1]}, {"/members/0": "greater than or equal to 0"}),
        ({}, {"/members": "Field required."}),
        ({"members": [1], "seed": 1}, {"/seed": "Unknown field"}),
    ],
)
def test_a_replay_points_at_each_member_that_does_not_exist(
    api: InProcess, record: ForecastRecord, body: dict[str, Any], expected: dict[str, str]
) -> None:
    _check(api.post(f"/forecast/{record.id}/replay", json=body), 422, expected)


def test_a_replay_names_the_numbered_members_of_a_replay(
    api: InProcess, submit_forecast: Callable[..., ForecastRecord]
) -> None:
    earlier = submit_forecast(members=2, member_numbers=(4, 17))
    response = api.post(f"/forecast/{earlier.id}/replay", json={"members": [0]})
    _check(response, 422, {"/members/0": ", 4, 17. Got: 0."})


def _fail(error: Exception) -> None:
    raise error


def test_one_error_is_raised_unchanged_and_several_together() -> None:
    faults = Faults()
    faults.check()
    assert faults.attempt(("body",), lambda: 3) == 3
    faults.check()
    first = ConfigurationError("`a` is wrong.", ("a",))
    assert faults.attempt(("body",), _fail, first) is None
    with pytest.raises(ConfigurationError) as caught:
        faults.check()
    assert caught.value is first
    assert first.location == ("body", "a")
    faults.add(CheckpointError("No model.", ("body", "model")))
    with pytest.raises(RequestFaultsError, match=r"^`a` is wrong\. No model\.$") as several:
        faults.check()
    assert several.value.kind == VALIDATION


def test_several_errors_of_one_kind_are_a_problem_of_that_kind_which_names_most_of_them() -> None:
    same = RequestFaultsError([ServiceError(TOO_LARGE, f"Too large: {index}.") for index in range(8)])
    assert same.kind == TOO_LARGE
    assert str(same).endswith("Too large: 4. And 3 more.")
    assert len(same.errors) == 8
    assert RequestFaultsError([ServiceError(TOO_LARGE, "a"), ServiceError(QUEUE_FULL, "b")]).kind == VALIDATION


def test_an_error_is_located_from_the_outside_inwards() -> None:
    with pytest.raises(ConfigurationError) as caught, located_at("body"), located_at("summary", 1):
        raise ConfigurationError("Wrong.", ("variable",))
    assert caught.value.location == ("body", "summary", 1, "variable")
