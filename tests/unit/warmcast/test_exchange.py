import pytest

from tests.unit.warmcast.scripted import BROKEN, REFUSED, Run, answer, problem
from warmcast.errors import ServiceProblemError, ServiceUnreachableError, ServiceUrlError
from warmcast.exchange import Answer, Outage, Request, Service, forecast_path

GET = Request("GET", "/models")
URL = "http://service:8000"


class Clock:
    """A clock that a test moves: `time.monotonic` of the module under test."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("warmcast.exchange.time", clock)
    return clock


def _service(timeout_seconds: float = 60.0, *, has_answered: bool = True) -> Service:
    service = Service(URL, None, timeout_seconds)
    service.has_answered = has_answered
    return service


def test_an_answer_is_returned() -> None:
    run = Run(_service().call(GET), [answer([1])])
    assert run.result.document() == [1]
    assert (run.requests, run.pauses) == ([GET], [])


@pytest.mark.parametrize("failure", [BROKEN, REFUSED, answer(None, 502), answer(None, 503), answer(None, 504)])
def test_a_request_is_repeated_with_growing_pauses_while_the_service_is_unreachable(failure: object) -> None:
    run = Run(_service().call(GET), [failure] * 7 + [answer([])])
    assert run.pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert len(run.requests) == 8


def test_the_pause_is_at_least_the_retry_after_of_the_service() -> None:
    assert Run(_service().call(GET), [answer(None, 503, retry_after="7"), answer([])]).pauses == [7.0]


def test_a_service_that_has_answered_may_be_away_for_the_timeout(clock: Clock) -> None:
    outage = Outage(_service(timeout_seconds=10))
    assert Run(outage.pause(BROKEN), []).pauses == [0.2]
    clock.now += 9.9
    (last,) = Run(outage.pause(BROKEN), []).pauses
    assert last == pytest.approx(0.1)
    clock.now += 0.1
    with pytest.raises(
        ServiceUnreachableError, match=r"http://service:8000 has not answered for 10 s: connection reset"
    ):
        Run(outage.pause(BROKEN), [])


def test_a_service_that_has_never_answered_is_given_up_after_three_seconds(clock: Clock) -> None:
    outage = Outage(_service(has_answered=False))
    Run(outage.pause(REFUSED), [])
    clock.now += 3.0
    with pytest.raises(ServiceUnreachableError, match="No service answers at http://service:8000: connection refused"):
        Run(outage.pause(REFUSED), [])


def test_progress_ends_an_outage(clock: Clock) -> None:
    outage = Outage(_service(timeout_seconds=10))
    Run(outage.pause(BROKEN), [])
    clock.now += 9
    outage.end()
    clock.now += 9
    assert Run(outage.pause(BROKEN), []).pauses == [0.2]


def test_a_timeout_of_the_exchange_replaces_that_of_the_client(clock: Clock) -> None:
    outage = Outage(_service(timeout_seconds=1), timeout_seconds=100)
    Run(outage.pause(BROKEN), [])
    clock.now += 99
    Run(outage.pause(BROKEN), [])
    clock.now += 1
    with pytest.raises(ServiceUnreachableError):
        Run(outage.pause(BROKEN), [])


def test_a_service_that_stays_unavailable_is_a_problem_with_its_reason(clock: Clock) -> None:
    outage, unavailable = Outage(_service(timeout_seconds=0)), problem(503, "unavailable", retryable=True)
    with pytest.raises(ServiceProblemError, match="Wrong") as caught:
        Run(outage.pause(unavailable), [])
    assert (caught.value.kind, caught.value.retryable) == ("/problems/unavailable", True)


def test_a_request_with_an_effect_is_repeated_only_if_it_was_not_sent() -> None:
    post = Request("POST", "/verify", is_repeatable=False)
    assert Run(_service().call(post), [REFUSED, answer({})]).pauses == [0.2]
    with pytest.raises(ServiceUnreachableError, match="The service may have carried it out"):
        Run(_service().call(post), [BROKEN])


def test_a_problem_has_the_fields_of_its_document() -> None:
    errors = [{"pointer": "/members", "detail": "Too many."}]
    document = {
        "type": "/problems/queue-full",
        "detail": "Full.",
        "errors": errors,
        "retryable": True,
        "trace_id": "ab",
    }
    with pytest.raises(ServiceProblemError) as caught:
        answer(document, 429, retry_after="30").check()
    error = caught.value
    assert (error.kind, error.status, error.detail, error.trace_id) == ("/problems/queue-full", 429, "Full.", "ab")
    assert (error.errors, error.retryable, error.retry_after_seconds) == (tuple(errors), True, 30.0)
    assert str(error) == "Full."


@pytest.mark.parametrize("content", [b"<html>Not found</html>", b"[]", b'{"title": "no type"}'])
def test_an_answer_of_another_kind_of_server_is_a_problem_too(content: bytes) -> None:
    with pytest.raises(ServiceProblemError, match="answered with status 404") as caught:
        Answer(404, {}, content).check()
    assert caught.value.kind == "about:blank"
    with pytest.raises(ServiceProblemError, match="Is this the URL of a Warmcast service"):
        Answer(200, {}, b"<html>").document()


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "127.0.0.1:8000", "service", "ftp://service", "http://", "http://service:port", "http://[::1"],
)
def test_an_invalid_url_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMCAST_URL", url)
    with pytest.raises(ServiceUrlError, match=r"WARMCAST_URL\) must begin with http:// or https://.*Got: ") as caught:
        Service(None, None, 60)
    assert repr(url) in str(caught.value)


def test_url_and_key_come_from_the_environment_or_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WARMCAST_URL", raising=False)
    monkeypatch.delenv("WARMCAST_KEY", raising=False)
    assert (Service(None, None, 60).url, Service(None, None, 60).headers) == ("http://127.0.0.1:8000", {})
    monkeypatch.setenv("WARMCAST_URL", "https://example.org/warm/")
    monkeypatch.setenv("WARMCAST_KEY", "wc_secret")
    assert Service(None, None, 60).url == "https://example.org/warm"
    assert Service(None, None, 60).headers == {"Authorization": "Bearer wc_secret"}
    assert Service(URL, "wc_other", 60).headers == {"Authorization": "Bearer wc_other"}
    with pytest.raises(ServiceUrlError, match="must be printable ASCII"):
        Service(URL, "secret\n", 60)


def test_an_id_cannot_change_the_path_of_a_request() -> None:
    assert forecast_path("fc_1", "receipt") == "/forecast/fc_1/receipt"
    assert forecast_path("../models?x=1") == "/forecast/..%2Fmodels%3Fx%3D1"
