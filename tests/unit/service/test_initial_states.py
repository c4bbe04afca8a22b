import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from jobs.request import CatalogueSource, UploadSource
from models.testing import tiny_spec
from service import initial_states
from service.dependencies import Service
from service.initial_states import check_source, read_initial_state
from service.requests import ForecastBody
from service.shared_calls import SharedCalls
from service.uploads import ParsedRequest
from storage.errors import ConfigurationError
from tests.helpers import random_state, wait_until
from tests.in_process import InProcess
from tests.served import small_request
from weather.errors import InputUnsupportedError
from weather.initial_state import InitialState
from weather.manifest import Manifest, read_manifest

Read = Callable[..., "Future[InitialState]"]


@pytest.fixture
def service(api: InProcess) -> Service:
    service: Service = api.app.state.service
    return service


@pytest.fixture
def manifest(untrained_checkpoint: Path) -> Manifest:
    return read_manifest(untrained_checkpoint)


@pytest.fixture
def read(api: InProcess, service: Service, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Start to read a state in the event loop of the service, which keeps none of the states of other tests."""
    monkeypatch.setattr(initial_states, "_CATALOGUE_STATES", SharedCalls[InitialState](8, lambda _: 1))

    async def read(source: CatalogueSource | UploadSource, manifest: Manifest) -> InitialState:
        async with service.queues.parsing.place("local") as place:
            request = ParsedRequest(ForecastBody(initial_state=source), (Path("/tmp/0"),), ("a.nc",), place)
            return await read_initial_state(request, manifest, service, "local")

    return lambda *arguments: api.start_task(read, *arguments)


class _Parser:
    """Takes the place of the parser: it waits until it is released, and counts the calls that run at once."""

    def __init__(self) -> None:
        self.calls, self.running, self.most = 0, 0, 0
        self.is_released = threading.Event()
        self.arguments: list[tuple[Any, ...]] = []
        self.fails = False
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> InitialState:
        with self._lock:
            self.calls, self.running = self.calls + 1, self.running + 1
            self.most = max(self.most, self.running)
            self.arguments.append(arguments)
        assert self.is_released.wait(30)
        with self._lock:
            self.running -= 1
        if self.fails:
            raise InputUnsupportedError("a.nc", ["`a.nc` is no NetCDF."])
        return random_state()


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> _Parser:
    parser = _Parser()
    monkeypatch.setattr(initial_states, "ingest_initial_state", parser)
    return parser


CATALOGUE = CatalogueSource(source="catalogue", dataset="gfs", init_time="2018-09-15T00")


def _start_upload(api: InProcess) -> "Future[httpx.Response]":
    body = small_request(initial_state={"source": "upload"})
    files = [("initial_state", ("a.nc", b"CDF"))]
    return api.start("POST", "/v1/forecast?validate_only=true", data={"request": json.dumps(body)}, files=files)


def test_two_uploads_are_parsed_at_once_sixteen_wait_and_more_are_refused_without_delay_of_other_requests(
    api: InProcess, parser: _Parser
) -> None:
    uploads = [_start_upload(api) for _ in range(50)]  # more than the service has threads
    wait_until(lambda: parser.running == 2)
    wait_until(lambda: sum(upload.done() for upload in uploads) == 32)
    assert api.start("GET", "/healthz").result(10).status_code == 200
    assert api.start("GET", "/v1/forecast").result(10).status_code == 200
    parser.is_released.set()
    responses = [upload.result(60) for upload in uploads]
    assert Counter(response.status_code for response in responses) == {200: 18, 429: 32}
    refusal = next(response for response in responses if response.status_code == 429)
    assert (refusal.json()["type"], refusal.json()["retryable"]) == ("/problems/too-busy", True)
    assert {int(response.headers["Retry-After"]) for response in responses if response.status_code == 429} > {5}
    assert (parser.calls, parser.most) == (18, 2)


def test_a_parser_that_fails_leaves_its_place(api: InProcess, parser: _Parser) -> None:
    parser.fails = True
    parser.is_released.set()
    for _ in range(5):
        response = _start_upload(api).result(30)
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (415, "/initial_state")
    parser.fails = False
    assert _start_upload(api).result(30).status_code == 200


def test_the_time_of_an_upload_is_parsed_and_given_to_the_parser(
    read: Read, manifest: Manifest, parser: _Parser
) -> None:
    parser.is_released.set()
    for text, time in ((None, None), ("2018-09-15T00", "2018-09-15T00"), ("2018-09-15T02:00+02:00", "2018-09-15T00")):
        read(UploadSource(source="upload", init_time=text), manifest).result(30)
        (files, names, spec, init_time) = parser.arguments[-1]
        assert (files, names, spec) == ((Path("/tmp/0"),), ("a.nc",), manifest.model)
        assert init_time == (None if time is None else np.datetime64(time, "s"))


def test_concurrent_requests_read_a_state_of_the_catalogue_once(
    read: Read, manifest: Manifest, parser: _Parser
) -> None:
    states = [read(CATALOGUE, manifest) for _ in range(6)]
    wait_until(lambda: parser.running)
    parser.is_released.set()
    digests = {state.result(30).digest for state in states}
    assert (parser.calls, len(digests)) == (1, 1)


def test_a_failure_to_read_the_catalogue_is_not_remembered(read: Read, manifest: Manifest, parser: _Parser) -> None:
    parser.is_released.set()
    parser.fails = True
    with pytest.raises(InputUnsupportedError):
        read(CATALOGUE, manifest).result(60)
    parser.fails = False
    read(CATALOGUE, manifest).result(60)
    assert parser.calls == 2


def test_a_state_is_read_again_for_a_checkpoint_of_another_grid(
    read: Read, manifest: Manifest, parser: _Parser
) -> None:
    parser.is_released.set()
    other = manifest.model_copy(update={"model": tiny_spec(24, 48)})
    for used in (manifest, other, manifest, other):
        read(CATALOGUE, used).result(60)
    assert parser.calls == 2


def test_a_state_of_the_catalogue_names_its_files(read: Read, manifest: Manifest) -> None:
    state = read(CATALOGUE, manifest).result(60)
    assert state.init_time == np.datetime64("2018-09-15T00", "s")
    assert len(state.sources) == 2
    assert all(name.endswith(".grib2") and "/" not in name for name in state.sources)
    assert state.newest.shape[-2:] == manifest.model.grid.grid.shape
    assert read(CATALOGUE, manifest).result(60).digest == state.digest


@pytest.mark.parametrize(
    "source",
    [
        CatalogueSource(source="catalogue", dataset="era5"),
        CatalogueSource(source="catalogue", dataset="gfs", init_time="1950-01-01T00"),
        CatalogueSource(source="catalogue", dataset="gfs", init_time="soon"),
        UploadSource(source="upload", init_time="soon"),
    ],
)
def test_a_source_is_checked_before_anything_is_read(
    service: Service, parser: _Parser, source: CatalogueSource | UploadSource
) -> None:
    with pytest.raises(ConfigurationError, match="Got: "):
        check_source(source, service, "local")
    assert parser.calls == 0


def test_existing_sources_pass_the_check(service: Service) -> None:
    for source in (
        CatalogueSource(source="catalogue", dataset="gfs"),
        CatalogueSource(source="catalogue", dataset="gfs", init_time="2018-09-15T00:00:00Z"),
        UploadSource(source="upload", init_time="2018-09-15T00"),
        UploadSource(source="upload"),
    ):
        check_source(source, service, "local")
