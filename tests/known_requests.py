"""Requests that the service answers with success: ids of what exists, and values of all parameters, for every route."""

import time
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import update

from jobs.rows.database import Database
from jobs.rows.schedule_tables import schedule_runs
from jobs.rows.states import RunState, Status, VerificationState
from jobs.rows.tables import forecasts
from tests.helpers import wait_until
from tests.served import Served, small_request

_SMALL: dict[str, Any] = {"members": 2, "lead_time": "12h"}
_OPTIONS = {name: value for name, value in small_request(**_SMALL).items() if name != "initial_state"}
_QUERY: dict[str, tuple[Any, ...]] = {
    "bbox": ("0,0,90,60", "170,-60,-170,60", "-180,-90,180,90"),
    "interpolation": ("nearest", "bilinear"),
    "reduce": ("none", "mean", "max", "min"),
    "parameter-name": ("u10", "u10,v10", "wind_speed_10m,wind_direction_10m"),
    "datetime": ("2018-09-15T06:00:00Z", "../.."),
    "values": ("members", "statistics"),
    "quantiles": ("0.5", "0,0.1,1"),
    "exceedance": ("u10>1", "wind_speed_10m>3,v10<-5"),
    "units": ("ms", "kn", "kmh"),
    "f": ("json", "csv", "covjson"),
    "members": ("0", "0-1"),
    "lead_time": ("6h", "12h"),
    "latitude": (50.0, -90.0),
    "longitude": (0.0, 359.9),
    "limit": (1, 200),
    "validate_only": ("true", "false"),
    "keep_data": ("true", "false"),
    "days": (1, 3660),
    "owner": ("local",),
    "since": ("2018-09-15T00:00:00Z",),
    "status": (["successful"], ["failed", "running"]),
    "label": (["a:1"], ["schedule:none"]),
    "log": ("true", "false"),
    "logStartTime": ("2018-09-15",),
    "model": ("untrained",),
    "key": ("local", "none"),
    "state": ("submitted", "waiting"),
    "init_time": ("2018-09-15T00:00:00Z",),
}
_OF_STORES = ("zarr.json", "u10/zarr.json", "u10/c.0.0.0.0.0", "complete/c.0.0")
_OF_SUMMARIES = ("zarr.json", "u10_mean/zarr.json", "complete/c.0")
_KEYS = {
    "latest/{key}": ("ensemble.zarr/zarr.json", "position"),
    "summary.zarr/{key}": _OF_SUMMARIES,
    "ensemble.zarr/{key}": _OF_STORES,
    "state.zarr/{key}": ("zarr.json", "u10/zarr.json"),
}
_OF_PAGES = {
    "/runs": "2018-09-15T06",
    "/v1/audit": "1",
    "/v1/forecast": "forecast_id",
    "/jobs": "forecast_id",
    "/instances": "forecast_id",
    "/v1/batch": "batch_id",
    "/v1/states": "state_id",
    "/v1/schedules": "schedule_id",
}


class KnownRequests:
    """What a service has, one resource of each kind and forecasts in all states, and requests of it."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.source = {"source": "forecast", "id": self.submit()}
        made = [self.source["id"], *(self.submit() for _ in range(3))]
        self.ids = {"forecast_id": tuple(made), "state_id": (self.make("states", self.source),)}
        self.ids["batch_id"] = (self.make_batch(),)
        self.ids["schedule_id"] = (self.make_schedule("known"),)
        database = Database(f"sqlite:///{served.data / 'warmcast.db'}")
        for forecast_id, status in zip(made[1:], (Status.RUNNING, Status.FAILED, Status.DISMISSED), strict=True):
            with database.write() as connection:
                row = update(forecasts).where(forecasts.c.id == forecast_id)
                connection.execute(
                    row.values(status=status, **({"finished": None} if status == Status.RUNNING else {}))
                )
        self._add_run(database)
        database.close()

    def submit(self) -> str:
        """Return the id of a new successful forecast; those that other tests submitted may fill the queue."""
        body = small_request(**_SMALL, labels={"a": "1"})
        forecast_id = self.make("forecast", body)
        self._served.wait(forecast_id, 120)
        return forecast_id

    def make(self, kind: str, body: dict[str, Any]) -> str:
        """Return the id of a new resource."""
        answers: list[Any] = []

        def is_made() -> bool:
            answers.append(self._served.client.post(f"/v1/{kind}", json=body))
            return answers[-1].status_code in {201, 202}

        wait_until(is_made, 120, describe=lambda: answers[-1].text)
        return str(answers[-1].json()["id"])

    def make_batch(self) -> str:
        """Return the id of a new batch that has ended."""
        batch_id = self.make("batch", _OPTIONS | {"initial_states": [self.source]})
        address = f"/v1/batch/{batch_id}"
        wait_until(lambda: self._served.client.get(address).json()["status"] == "successful", 120)
        return batch_id

    def make_schedule(self, name: str) -> str:
        """Return the id of a new schedule, whose cycles are in the far future."""
        return self.make("schedules", self._schedule(name))

    def _schedule(self, name: str) -> dict[str, Any]:
        return {"name": name, "dataset": "gfs", "start": "2100-01-01", "forecast": _OPTIONS}

    def _add_run(self, database: Database) -> None:
        """Give the schedule a run that has submitted the successful forecast."""
        values = dict.fromkeys(("init_time", "begins", "created", "finished"), int(time.time()))
        values |= dict.fromkeys(("epoch", "attempts", "verification_epoch", "verification_attempts"), 0)
        names = {"dataset": "gfs", "state": RunState.SUBMITTED, "verification": VerificationState.OFF}
        run = values | names | {"schedule_id": self.ids["schedule_id"][0], "forecast_id": self.source["id"]}
        with database.write() as connection:
            connection.execute(schedule_runs.insert().values(run | {"caught_up": False}))

    def wait_for_space(self) -> None:
        """Wait until no forecast is open but the one that seems to run, because the service takes only a few."""

        def is_idle() -> bool:
            limits = self._served.client.get("/v1/limits").json()["limits"]
            return all(limit["used"] <= 1 for limit in limits if limit["name"] == "open_forecasts")

        wait_until(is_idle, 120)

    def fresh(self, operation: Any) -> dict[str, tuple[str, ...]]:
        """Return the ids for an operation: new ones for a deletion, and for streams of events those that end."""
        if operation.path.endswith("/events"):
            return {name: each[:1] for name, each in self.ids.items()}
        if operation.method != "delete":
            return self.ids
        makers = {"forecast_id": self.submit, "batch_id": self.make_batch}
        makers["state_id"] = lambda: self.make("states", self.source)
        makers["schedule_id"] = lambda: self.make_schedule(f"deleted at {time.monotonic()}")
        return {name: (make(),) for name, make in makers.items() if f"{{{name}}}" in operation.path}

    def cases(self, operation: Any, ids: Mapping[str, tuple[str, ...]]) -> st.SearchStrategy[Any]:
        """Return the strategy of requests of an operation that are right in all, of the resources with some ids."""
        path = operation.path
        parts = {name: st.sampled_from(each) for name, each in ids.items() if f"{{{name}}}" in path}
        parts |= {"key": st.sampled_from(next((keys for end, keys in _KEYS.items() if path.endswith(end)), ("",)))}
        parts |= {"model": st.just("untrained"), "num_lead_times": st.sampled_from((1, 2)), "name": st.just("forecast")}
        declared = {each.name: each.is_required for each in operation.path_parameters}
        path_parameters = st.fixed_dictionaries({name: parts[name] for name in declared})
        values = {each.name: self._values(path, each.name) for each in operation.query}
        required = {each.name for each in operation.query if each.is_required}
        query = st.fixed_dictionaries(
            {name: values[name] for name in required},
            optional={name: value for name, value in values.items() if name not in required},
        )
        body = self._bodies(operation)
        if body is None:
            return st.builds(operation.Case, path_parameters=path_parameters, query=query)
        kind = st.just("application/json")
        return st.builds(operation.Case, path_parameters=path_parameters, query=query, body=body, media_type=kind)

    def _values(self, path: str, name: str) -> st.SearchStrategy[Any]:
        if name == "coords":
            points = ("POINT(10 50)", "MULTIPOINT((-180 90),(359.9 -90))")
            polygons = ("POLYGON((0 0,90 0,90 60,0 60,0 0))", "POLYGON((170 -40,200 -40,200 40,170 40,170 -40))")
            return st.sampled_from(points if path.endswith("position") else polygons)
        if name in {"before", "batch"}:
            last = "batch_id" if name == "batch" else next(of for end, of in _OF_PAGES.items() if path.endswith(end))
            return st.sampled_from(self.ids.get(last, (last,)))
        return st.sampled_from(_QUERY[name])

    def _bodies(self, operation: Any) -> st.SearchStrategy[Any] | None:
        """Return the strategy of the bodies of an operation, or None if it has none."""
        source = st.sampled_from((self.source, {"source": "state", "id": self.ids["state_id"][0]}))
        forecast = st.fixed_dictionaries({**_just(_OPTIONS), "initial_state": source})
        batch = st.fixed_dictionaries({**_just(_OPTIONS), "initial_states": st.tuples(source).map(list)})
        inputs = forecast.map(lambda body: {name: value for name, value in body.items() if name != "model"})
        names = st.integers(0, 10**9).map(lambda number: self._schedule(f"schedule {number}"))
        bodies = {
            "/v1/forecast": forecast,
            "/v1/batch": batch,
            "/v1/states": st.just(self.source),
            "/v1/schedules": names,
            "/v1/schedules/{schedule_id}": st.sampled_from(({"state": "paused"}, {"state": "active"}, {})),
            "/v1/forecast/{forecast_id}/replay": st.just({"members": [1]}),
            "/api/retrieve/v1/processes/{model}/execution": inputs.map(lambda each: {"inputs": each}),
            "/api/retrieve/v1/jobs/delete": st.just({"job_ids": []}),
        }
        return bodies.get(operation.path) if operation.body else None


def _just(values: dict[str, Any]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: st.just(value) for name, value in values.items()}
