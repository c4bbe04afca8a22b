"""A client of a Warmcast service: submit forecasts, follow them, open their ensembles while they grow."""

import builtins
import functools
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from warmcast import batches, schedule_verbs, state_verbs, verbs
from warmcast.area_verbs import area, save_area
from warmcast.downloads import download
from warmcast.events import Event, follow_events
from warmcast.exchange import Answer, Emit, Failure, Open, Pause, Read, Request, Send, Service, Step, Steps
from warmcast.forecast_log import log
from warmcast.forecasts import ForecastInfo, require_success, wait_for_end
from warmcast.messages import answer_of, failure_of, http_arguments
from warmcast.remote_batches import RemoteBatch
from warmcast.series import position, save_position

if TYPE_CHECKING:
    import xarray as xr

P = ParamSpec("P")
T = TypeVar("T")


class _Exchange:
    """Performs the steps of one exchange; holds the response whose body is received."""

    def __init__(self, service: Service, http: httpx.Client) -> None:
        self._service, self._http = service, http
        self._response: httpx.Response | None = None
        self._blocks: Iterator[bytes] = iter(())

    def perform(self, step: Step) -> Any:
        """Perform a step and return its result."""
        match step:
            case Send(request):
                return self._send(request, is_streamed=False)
            case Open(request):
                return self._send(request, is_streamed=True)
            case Read():
                return self._read()
            case Pause(seconds):
                time.sleep(seconds)
        return None

    def close(self) -> None:
        """Close the connection of a body that was not received to its end."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _send(self, request: Request, *, is_streamed: bool) -> Answer | Failure:
        if is_streamed:
            self.close()
        try:
            with http_arguments(self._service, request) as arguments:
                response = self._http.send(self._http.build_request(**arguments), stream=True)
            if is_streamed and response.is_success:
                self._response, self._blocks = response, response.iter_raw()
                return answer_of(response)
            try:
                return answer_of(response, response.read())
            finally:
                response.close()
        except httpx.HTTPError as error:
            return failure_of(error)

    def _read(self) -> bytes | Failure:
        try:
            return next(self._blocks, b"")
        except httpx.HTTPError as error:
            return failure_of(error)


def _verb(verb: Callable[Concatenate[Service, P], Steps[T]]) -> "Callable[Concatenate[Client, P], T]":
    """Turn a verb, a function of `warmcast.verbs`, into a method of the client."""

    @functools.wraps(verb)
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.run(verb(client.service, *args, **kwargs))

    verbs.describe_method(method, verb, 1)
    return method


def _forecast_verb(
    verb: Callable[Concatenate[Service, P], Steps[dict[str, Any]]],
) -> "Callable[Concatenate[Client, P], RemoteForecast]":
    """Turn a verb that returns a status document into a method of the client that returns the forecast."""

    @functools.wraps(verb)
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> "RemoteForecast":
        return RemoteForecast(client, client.run(verb(client.service, *args, **kwargs)))

    verbs.describe_method(method, verb, 1)
    return method


def _own_verb(verb: Callable[Concatenate[Service, str, P], Steps[T]]) -> "Callable[Concatenate[RemoteForecast, P], T]":
    """Turn a verb whose first argument is the id of a forecast into a method of the forecast."""

    @functools.wraps(verb)
    def method(forecast: "RemoteForecast", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return forecast.client.run(verb(forecast.client.service, forecast.id, *args, **kwargs))

    verbs.describe_method(method, verb, 2)
    return method


class Client:
    """A client of the service at `url`.

    `url` is by default `WARMCAST_URL`, else port 8000 of this machine; `key` is an API key, by default `WARMCAST_KEY`.
    Every error is a `warmcast.ClientError`. While the service is unreachable, a request is repeated for
    `timeout_seconds` (3 s at most if the service has never answered), if sending it twice cannot have two effects. One
    client may be used by several threads.
    """

    def __init__(self, url: str | None = None, *, key: str | None = None, timeout_seconds: float = 60.0) -> None:
        self.service = Service(url, key, timeout_seconds)
        self._http = httpx.Client()

    @property
    def url(self) -> str:
        """The URL of the service."""
        return self.service.url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.url}>"

    def __enter__(self) -> Self:
        """Return this client; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, steps: Steps[T]) -> T:
        """Perform the steps of an exchange and return its result."""
        exchange = self._iterate(steps)
        while True:
            try:
                next(exchange)
            except StopIteration as end:
                result: T = end.value
                return result

    def iterate(self, steps: Steps[None]) -> Iterator[Any]:
        """Perform the steps of an exchange and yield the values that it emits."""
        yield from self._iterate(steps)

    def _iterate(self, steps: Steps[T]) -> Any:
        exchange, result = _Exchange(self.service, self._http), None
        try:
            while True:
                step = steps.send(result)
                if isinstance(step, Emit):
                    result = yield step.value
                else:
                    result = exchange.perform(step)
        except StopIteration as end:
            return end.value
        finally:
            steps.close()
            exchange.close()

    models = _verb(verbs.models)
    model = _verb(verbs.model)
    catalogue = _verb(verbs.catalogue)
    datasets = _verb(verbs.datasets)
    limits = _verb(verbs.limits)
    states = _verb(state_verbs.states)
    state = _verb(state_verbs.state)
    upload_state = _verb(state_verbs.upload_state)
    delete_state = _verb(state_verbs.delete_state)
    schedules = _verb(schedule_verbs.schedules)
    schedule = _verb(schedule_verbs.schedule)
    create_schedule = _verb(schedule_verbs.create_schedule)
    change_schedule = _verb(schedule_verbs.change_schedule)
    delete_schedule = _verb(schedule_verbs.delete_schedule)
    schedule_runs = _verb(schedule_verbs.schedule_runs)
    latest = _forecast_verb(schedule_verbs.latest)
    inspect = _verb(verbs.inspect_files)
    usage = _verb(verbs.usage)
    submit = _forecast_verb(verbs.submit)
    plan = _verb(verbs.plan)
    forecast = _forecast_verb(verbs.forecast)

    def batch(
        self, initial_states: batches.InitialStates, *, idempotency_key: str | None = None, **fields: Any
    ) -> RemoteBatch:
        """Submit one forecast from each of several initial states, all or none, and return the batch.

        `fields` are those of `POST /forecast` but `initial_state`, such as `members`, `lead_time` and `sampler`. Two
        calls with one `idempotency_key` submit one batch.
        """
        steps = batches.submit_batch(self.service, initial_states, idempotency_key=idempotency_key, **fields)
        return RemoteBatch(self, self.run(steps))

    def find_batch(self, batch_id: str) -> RemoteBatch:
        """Return the batch of an id."""
        return RemoteBatch(self, self.run(batches.read_batch(self.service, batch_id)))

    def batches(self, *, limit: int = 20, before: str | None = None) -> "builtins.list[RemoteBatch]":
        """Return at most `limit`, up to 100, batches, newest first and without their parts.

        `before` is the id of a batch, and selects those older than it.
        """
        infos = self.run(batches.list_batches(self.service, limit=limit, before=before))
        return [RemoteBatch(self, info) for info in infos]

    def follow_batch(self, batch_id: str, timeout_seconds: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield the status document of a batch whenever it changes, until all its forecasts have ended."""
        return self.iterate(batches.follow_batch(self.service, batch_id, timeout_seconds))

    def list(
        self,
        *,
        status: str | None = None,
        limit: int | None = 50,
        before: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> "list[RemoteForecast]":
        """Return forecasts, newest first: at most `limit`, or all if it is None.

        `status` selects the forecasts of one status; `before` is a forecast's id, and selects those older than it;
        `labels` selects those that have all of them.
        """
        steps = verbs.list_forecasts(self.service, status=status, limit=limit, before=before, labels=labels)
        infos = self.run(steps)
        return [RemoteForecast(self, info) for info in infos]


class RemoteForecast(ForecastInfo):
    """A forecast of a service; `info` is the newest status document that the service has sent (`GET /forecast/ID`)."""

    def __init__(self, client: Client, info: dict[str, Any]) -> None:
        super().__init__(client.service, info)
        self.client = client

    def refresh(self) -> Self:
        """Request the current status and return this forecast."""
        self.info = self.client.run(verbs.forecast(self.client.service, self.id))
        return self

    def wait(self, timeout_seconds: float | None = None) -> Self:
        """Return when the forecast is successful, also if the service was restarted in the meantime.

        Raises `ForecastFailedError` if it has failed or was cancelled, and `WaitTimeoutError` after `timeout_seconds`.
        While the service is unreachable, requests are repeated until then; by default, for the client's timeout.
        """
        self.info = self.client.run(wait_for_end(self.client.service, self.id, timeout_seconds))
        require_success(self.info)
        return self

    def events(self, timeout_seconds: float | None = None) -> Iterator[Event]:
        """Yield each event (kind, detail) once, from the first to the last, also across restarts of the service.

        Raises `WaitTimeoutError` after `timeout_seconds`. Requests are repeated as in `wait`.
        """
        return self.client.iterate(follow_events(self.client.service, self.id, timeout_seconds))

    def to_xarray(self, *, summary: bool = False, first: int | None = None) -> "xr.Dataset":
        """Open the ensemble over HTTP, or with `summary` the statistics over its members.

        Raises `ServiceProblemError` if the service lacks the data, for instance because it was deleted. Lead
        times are NaN until they are complete; later reads of the same dataset return their values. With `first`, it is
        the ensemble with so many lead times alone, which must be complete: it does not change while the forecast runs.
        """
        name = "summary.zarr" if summary else "ensemble.zarr"
        return self._open(name if first is None else f"as-of/{first}/{name}")

    def initial_state(self) -> "xr.Dataset":
        """Open what the forecast started from: its two frames on the grid of the checkpoint."""
        return self._open("initial_state.zarr")

    def _open(self, name: str) -> "xr.Dataset":
        service = self.client.service
        self.client.run(verbs.check_store(service, self.id, name))
        open_store, url = importlib.import_module("warmcast.datasets").open_store, self.store_url(name)
        dataset: xr.Dataset = open_store(url, service.headers)
        return dataset

    def replay(
        self,
        *members: int,
        labels: Mapping[str, str] | None = None,
        retention_hours: float | None = None,
        idempotency_key: str | None = None,
    ) -> "RemoteForecast":
        """Recompute members of this forecast exactly, as a new forecast, and return the new forecast."""
        steps = verbs.replay(
            self.client.service,
            self.id,
            *members,
            labels=labels,
            retention_hours=retention_hours,
            idempotency_key=idempotency_key,
        )
        return RemoteForecast(self.client, self.client.run(steps))

    def cancel(self) -> Self:
        """Cancel this forecast and return it; its complete lead times are kept.

        Raises `ServiceProblemError` of kind `/problems/forecast-over` if it has ended.
        """
        self.info = self.client.run(verbs.cancel(self.client.service, self.id))
        return self

    download = _own_verb(download)
    log = _own_verb(log)
    receipt = _own_verb(verbs.receipt)
    diagnostics = _own_verb(verbs.diagnostics)
    verify = _own_verb(verbs.verify)
    maps = _own_verb(verbs.maps)
    plume = _own_verb(verbs.plume)
    position = _own_verb(position)
    save_position = _own_verb(save_position)
    area = _own_verb(area)
    save_area = _own_verb(save_area)
    delete = _own_verb(verbs.delete)
