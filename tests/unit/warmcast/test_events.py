import json

import pytest

from tests.unit.warmcast.scripted import BROKEN, REFUSED, Run, answer, problem
from warmcast.errors import ServiceProblemError, WaitTimeoutError
from warmcast.events import EventParser, follow_events
from warmcast.exchange import Service


@pytest.fixture
def service() -> Service:
    return Service("http://service", None, 60.0)


def _event(event_id: int, kind: str, **detail: int) -> bytes:
    return f"event: {kind}\r\ndata: {json.dumps(detail)}\r\nid: {event_id}\r\nretry: 2000\r\n\r\n".encode()


def test_events_continue_after_the_last_one_received(service: Service) -> None:
    whole = _event(1, "accepted") + _event(4, "lead_time", lead_times=1)
    cut = _event(7, "lead_time", lead_times=2)[:20]
    run = Run(
        follow_events(service, "fc_1"),
        [
            *[answer(), b": ping\n\n", whole[:30], whole[30:], cut, BROKEN, REFUSED],
            *[answer(), _event(7, "lead_time", lead_times=2), _event(9, "successful")],
        ],
    )
    assert [(event.kind, event.detail.get("lead_times")) for event in run.emitted] == [
        ("accepted", None),
        ("lead_time", 1),
        ("lead_time", 2),
        ("successful", None),
    ]
    assert [request.headers["Last-Event-ID"] for request in run.requests] == ["0", "4", "4"]
    assert run.pauses == [0.2, 0.4]


def test_a_stream_that_ends_early_is_opened_again(service: Service) -> None:
    run = Run(
        follow_events(service, "fc_1"),
        [
            *[answer(), _event(1, "accepted"), b"", answer(), b"", answer({"status": "running"})],
            *[answer(), _event(2, "dismissed")],
        ],
    )
    assert [event.kind for event in run.emitted] == ["accepted", "dismissed"]


def test_a_stream_without_events_ends_with_the_forecast(service: Service) -> None:
    assert Run(follow_events(service, "fc_1"), [answer(), b"", answer({"status": "successful"})]).emitted == []


def test_following_events_ends_at_its_timeout_and_with_a_problem(service: Service) -> None:
    with pytest.raises(WaitTimeoutError, match="has not ended after 0 s"):
        Run(follow_events(service, "fc_1", 0.0), [answer(), b": ping\n\n", BROKEN])
    with pytest.raises(ServiceProblemError):
        Run(follow_events(service, "fc_1"), [problem(404, "no-such-forecast")])


def test_events_are_parsed_wherever_their_bytes_are_split() -> None:
    stream = b': hello\n\nevent: a\ndata: {"x":\ndata: "\xc3\xa9"}\nid: 5\n\nretry: 1\n\n' + _event(6, "b", y=2)
    for size in (1, 3, 1000):
        parser, events = EventParser(), []
        for start in range(0, len(stream), size):
            events += parser.feed(stream[start : start + size])
        assert events == [("5", ("a", {"x": "é"})), ("6", ("b", {"y": 2}))]
