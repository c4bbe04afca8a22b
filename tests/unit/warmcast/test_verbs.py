import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.warmcast.scripted import BROKEN, REFUSED, Run, answer, problem
from warmcast import state_verbs, verbs
from warmcast.area_verbs import area
from warmcast.errors import InputFileError, ServiceProblemError, ServiceUnreachableError
from warmcast.exchange import Request, Service
from warmcast.series import position

ACCEPTED = {"id": "fc_1", "status": "accepted"}


@pytest.fixture
def service() -> Service:
    return Service("http://service", None, 60.0)


def _only_request(run: Run) -> Request:
    (request,) = run.requests
    return request


def test_a_forecast_is_submitted_by_the_names_of_its_fields(service: Service) -> None:
    fields: dict[str, Any] = {
        "model": "planet",
        "members": 4,
        "lead_time": "24h",
        "seed": 1,
        "deadline_seconds": 60.0,
        "priority": "high",
        "summary": {"quantiles": [0.5]},
        "output": {"members": False},
        "labels": {"project": "harbour"},
        "retention_hours": 6.0,
        "alerts": [{"variable": "u10", "value": 5}],
        "callback": {"url": "https://example.org"},
    }
    steps = verbs.submit(
        service, "gfs", init_time="2018-09-15T00", nfe=4, solver="euler", warmth=0.5, idempotency_key="k", **fields
    )
    request = _only_request(Run(steps, [answer(ACCEPTED)]))
    state = {"source": "catalogue", "dataset": "gfs", "init_time": "2018-09-15T00"}
    sampler = {"nfe": 4, "solver": "euler", "warmth": 0.5}
    assert request.json == {"initial_state": state, "sampler": sampler, **fields}
    assert (request.method, request.path, request.headers["Idempotency-Key"]) == ("POST", "/forecast", "k")


def test_fields_that_are_not_given_are_not_sent(service: Service) -> None:
    request = _only_request(Run(verbs.submit(service), [answer(ACCEPTED)]))
    assert request.json == {"initial_state": {"source": "catalogue", "dataset": "gfs"}}
    given = _only_request(Run(verbs.submit(service, sampler={"nfe": 2, "warmth": 1}, nfe=6), [answer(ACCEPTED)]))
    assert given.json["sampler"] == {"nfe": 6, "warmth": 1}


def test_the_request_of_a_forecast_is_sent_unchanged(service: Service) -> None:
    echo: dict[str, Any] = {
        "model": "planet", "initial_state": {"source": "forecast", "id": "fc_1"}, "lead_time": "24h", "members": [1, 7],
        "seed": 1, "sampler": {"solver": "euler", "nfe": 4, "warmth": 1.0}, "priority": "normal",
        "summary": {"quantiles": [0.5], "exceedance": []}, "output": {"members": True, "keep_bits": None},
    }  # fmt: skip  # one field per line would hide that this is a whole request
    assert _only_request(Run(verbs.submit(service, **echo), [answer(ACCEPTED)])).json == echo
    plan = _only_request(Run(verbs.plan(service, **echo | {"deadline_seconds": None}), [answer({})]))
    assert (plan.json, plan.files) == (echo, ())


def test_a_field_that_does_not_exist_is_a_type_error(service: Service) -> None:
    with pytest.raises(TypeError, match="'member'"):
        verbs.submit(service, "gfs", member=4)
    with pytest.raises(TypeError, match="'idempotency_key'"):
        verbs.plan(service, idempotency_key="k")


def test_a_submission_is_repeated_under_one_key_of_its_own(service: Service) -> None:
    run = Run(verbs.submit(service), [BROKEN, REFUSED, answer(ACCEPTED)])
    keys = {request.headers["Idempotency-Key"] for request in run.requests}
    assert (len(run.requests), len(keys)) == (3, 1)
    other = Run(verbs.submit(service), [answer(ACCEPTED)])
    assert other.requests[0].headers["Idempotency-Key"] not in keys
    again = Run(verbs.replay(service, "fc_1", 3, 4), [BROKEN, answer(ACCEPTED)])
    assert len({request.headers["Idempotency-Key"] for request in again.requests}) == 1
    assert again.requests[0].json == {"members": [3, 4]}
    labelled = Run(verbs.replay(service, "fc_1", 3, labels={"a": "1"}, retention_hours=2.0), [answer(ACCEPTED)])
    assert labelled.requests[0].json == {"members": [3], "labels": {"a": "1"}, "retention_hours": 2.0}


def test_files_are_sent_as_parts(service: Service, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.grib2", "b")]
    for path in paths:
        path.touch()
    request = _only_request(Run(verbs.plan(service, [paths[0], str(paths[1])], members=2), [answer({})]))
    assert request.files == (("initial_state", paths[0]), ("initial_state", paths[1]))
    assert request.form is not None
    assert json.loads(request.form["request"]) == {"initial_state": {"source": "upload"}, "members": 2}
    assert request.parameters == {"validate_only": True}


@pytest.mark.parametrize("given", ["missing.grib", "folder/missing", Path("missing"), ["missing", "missing-too"]])
def test_a_missing_file_is_not_sent_as_a_data_set(given: Any, service: Service) -> None:
    with pytest.raises(InputFileError, match=r"The file `[\w/.]+` does not exist"):
        Run(verbs.submit(service, given), [])


def test_a_file_with_the_name_of_a_data_set_is_sent(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gfs").touch()
    request = _only_request(Run(verbs.submit(service, "gfs"), [answer(ACCEPTED)]))
    assert request.files == (("initial_state", Path("gfs")),)


def test_a_folder_or_an_empty_list_in_place_of_files_is_refused(service: Service, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"is a folder.*zip"):
        Run(verbs.submit(service, tmp_path), [])
    with pytest.raises(InputFileError, match="At least one file"):
        Run(verbs.verify(service, "fc_1", [], reference="gfs-analysis"), [])


def test_a_list_is_read_page_by_page(service: Service) -> None:
    pages = [[{"id": f"fc_{page}_{index}"} for index in range(200)] for page in range(2)] + [[{"id": "last"}]]
    run = Run(verbs.list_forecasts(service, limit=None, status="failed"), [answer({"forecasts": p}) for p in pages])
    assert len(run.result) == 401
    assert [request.parameters.get("before") for request in run.requests] == [None, "fc_0_199", "fc_1_199"]
    assert run.requests[2].parameters == {"status": "failed", "limit": 200, "before": "fc_1_199"}
    limited = Run(
        verbs.list_forecasts(service, limit=250), [answer({"forecasts": p}) for p in (pages[0], pages[1][:50])]
    )
    assert [request.parameters["limit"] for request in limited.requests] == [200, 50]
    assert len(limited.result) == 250
    labelled = Run(verbs.list_forecasts(service, labels={"a": "1", "b": "x:y"}), [answer({"forecasts": []})])
    assert labelled.requests[0].parameters["label"] == ["a:1", "b:x:y"]


def test_cancelling_twice_by_a_broken_connection_is_cancelling(service: Service) -> None:
    over, dismissed = problem(409, "forecast-over"), answer({"id": "fc_1", "status": "dismissed"})
    assert Run(verbs.cancel(service, "fc_1"), [BROKEN, over, dismissed]).result["status"] == "dismissed"
    with pytest.raises(ServiceProblemError):
        Run(verbs.cancel(service, "fc_1"), [REFUSED, over])
    with pytest.raises(ServiceProblemError):
        Run(verbs.cancel(service, "fc_1"), [BROKEN, over, answer({"id": "fc_1", "status": "successful"})])


def test_a_verification_is_never_sent_twice(service: Service, tmp_path: Path) -> None:
    (tmp_path / "truth.nc").touch()
    steps = verbs.verify(service, "fc_1", tmp_path / "truth.nc", reference="gfs-analysis")
    request = _only_request(Run(steps, [answer({"scores": {}})]))
    assert (request.form, request.files[0][0]) == ({"reference": "gfs-analysis"}, "truth")
    with pytest.raises(ServiceUnreachableError):
        Run(verbs.verify(service, "fc_1", tmp_path / "truth.nc", reference="gfs-analysis"), [BROKEN])


def test_plots_are_requested_with_units_and_region(service: Service) -> None:
    maps = _only_request(Run(verbs.maps(service, "fc_1", "6h", bbox=(170, -30.5, -170, 10), units="kn"), [answer({})]))
    assert maps.parameters == {"lead_time": ["6h"], "units": "kn", "bbox": "170,-30.5,-170,10"}
    plume = _only_request(Run(verbs.plume(service, "fc_1", 51.5, 0.0, units="kmh"), [answer({})]))
    assert plume.parameters == {"latitude": 51.5, "longitude": 0.0, "units": "kmh"}


def test_series_are_requested_at_places_by_latitude_and_longitude(service: Service) -> None:
    members = _only_request(Run(position(service, "fc_1", (51.5, -0.1), (0, 180)), [answer({})]))
    assert members.parameters == {
        "coords": "MULTIPOINT((-0.1 51.5),(180 0))",
        "interpolation": "bilinear",
        "units": "ms",
    }
    names, events = ["u10", "wind_speed_10m"], ["wind_speed_10m>17.2"]
    steps = position(
        service, "fc_1", (1, 2), parameters=names, statistics=True, quantiles=[0.5], exceedance=events, units="kn"
    )
    statistics = _only_request(Run(steps, [answer({})])).parameters
    assert statistics["parameter-name"] == "u10,wind_speed_10m"
    assert (statistics["values"], statistics["quantiles"], statistics["exceedance"]) == ("statistics", "0.5", events[0])


def test_an_area_is_a_box_or_a_polygon_with_the_parameters_of_positions(service: Service) -> None:
    box = area(service, "fc_1", (170, -10.5, -170, 10), reduce="mean", statistics=True, quantiles=[0.9], units="kmh")
    query = {"bbox": "170,-10.5,-170,10", "reduce": "mean", "values": "statistics", "quantiles": "0.9", "units": "kmh"}
    assert _only_request(Run(box, [answer({})])).parameters == query
    polygon = area(service, "fc_1", "POLYGON((5 45,15 45,15 55,5 45))", parameters=["u10"])
    query = {"coords": "POLYGON((5 45,15 45,15 55,5 45))", "reduce": "none", "parameter-name": "u10", "units": "ms"}
    assert _only_request(Run(polygon, [answer({})])).parameters == query


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        (lambda service: verbs.models(service), "/models"),
        (lambda service: verbs.model(service, "a b"), "/models/a%20b"),
        (lambda service: verbs.catalogue(service), "/catalogue"),
        (lambda service: verbs.datasets(service), "/datasets"),
        (lambda service: verbs.limits(service), "/limits"),
        (lambda service: verbs.forecast(service, "fc_1"), "/forecast/fc_1"),
        (lambda service: verbs.receipt(service, "fc_1"), "/forecast/fc_1/receipt"),
        (lambda service: verbs.diagnostics(service, "fc_1"), "/forecast/fc_1/diagnostics"),
        (lambda service: verbs.maps(service, "fc_1", "24h"), "/forecast/fc_1/plots/maps.png"),
        (lambda service: verbs.plume(service, "fc_1", 51.5, 0.0), "/forecast/fc_1/plots/plume.png"),
        (lambda service: position(service, "fc_1", (51.5, 0.0)), "/forecast/fc_1/position"),
        (lambda service: area(service, "fc_1", (5, 45, 15, 55)), "/forecast/fc_1/cube"),
        (lambda service: area(service, "fc_1", "POLYGON((5 45,15 45,15 55,5 45))"), "/forecast/fc_1/area"),
        (lambda service: verbs.check_store(service, "fc_1", "ensemble.zarr"), "/forecast/fc_1/ensemble.zarr/zarr.json"),
        (lambda service: verbs.delete(service, "fc_1"), "/forecast/fc_1"),
    ],
)
def test_each_verb_has_its_path(steps: Any, path: str, service: Service) -> None:
    assert _only_request(Run(steps(service), [answer({})])).path == path


def test_a_kept_state_is_named_by_its_id_unless_a_file_has_that_name(service: Service, tmp_path: Path) -> None:
    state_id = f"st_{'0' * 24}"
    request = _only_request(Run(verbs.submit(service, state_id), [answer(ACCEPTED)]))
    assert request.json == {"initial_state": {"source": "state", "id": state_id}}


def test_states_are_uploaded_as_files_or_named_by_their_sources(service: Service, tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"CDF")
    upload = state_verbs.upload_state(service, str(tmp_path / "a.nc"), model="planet", idempotency_key="k")
    request = _only_request(Run(upload, [answer({"id": "st_1"})]))
    assert (request.path, request.headers, request.json) == ("/states", {"Idempotency-Key": "k"}, None)
    assert request.form == {"request": '{"model": "planet"}'}
    assert request.files == (("initial_state", tmp_path / "a.nc"),)
    source = {"source": "forecast", "id": "fc_1", "lead_time": "24h", "member": 3}
    assert _only_request(Run(state_verbs.upload_state(service, source), [answer({})])).json == source
    catalogue = state_verbs.upload_state(service, "gfs", init_time="2018-09-15T00")
    body = {"source": "catalogue", "dataset": "gfs", "init_time": "2018-09-15T00"}
    assert _only_request(Run(catalogue, [answer({})])).json == body
