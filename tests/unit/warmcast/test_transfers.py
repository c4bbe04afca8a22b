import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.warmcast.scripted import BROKEN, REFUSED, Run, answer, problem
from warmcast.errors import (
    DownloadError,
    ForecastFailedError,
    ServiceProblemError,
    ServiceUnreachableError,
    WaitTimeoutError,
)
from warmcast.exchange import Service
from warmcast.server_events import EventParser
from warmcast.transfers import download, follow_events, require_success, wait

ZIP = b"0123456789"


@pytest.fixture
def service() -> Service:
    return Service("http://service", None, 60.0)


def _info(status: str, eta_seconds: float | None = 0.0, error: dict[str, str] | None = None) -> dict[str, Any]:
    return {"id": "fc_1", "status": status, "progress_detail": {"eta_seconds": eta_seconds}, "error": error}


def _event(event_id: int, kind: str, **detail: int) -> bytes:
    return f"event: {kind}\r\ndata: {json.dumps(detail)}\r\nid: {event_id}\r\nretry: 2000\r\n\r\n".encode()


def test_waiting_asks_a_few_times_until_the_expected_end(service: Service) -> None:
    statuses = [_info("accepted", None), _info("running", 100.0), _info("running", 4.0), _info("running", 0.1)]
    run = Run(wait(service, "fc_1"), [*map(answer, statuses), answer(_info("successful"))])
    assert run.pauses == [0.5, 5.0, 1.0, 0.2]
    assert run.result == _info("successful")


def test_waiting_survives_outages(service: Service) -> None:
    answers = [answer(_info("running")), REFUSED, BROKEN, answer(None, 503), answer(_info("failed"))]
    assert Run(wait(service, "fc_1", 60.0), answers).result["status"] == "failed"


def test_waiting_ends_at_its_timeout(service: Service) -> None:
    with pytest.raises(WaitTimeoutError, match=r"Forecast fc_1 is running after 0 s\.") as caught:
        Run(wait(service, "fc_1", 0.0), [answer(_info("running"))])
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(ServiceUnreachableError):
        Run(wait(service, "fc_1", 0.0), [REFUSED])


def test_only_success_is_no_error() -> None:
    require_success(_info("successful"))
    with pytest.raises(ForecastFailedError, match=r"Forecast fc_1 has failed: The disk is full\."):
        require_success(_info("failed", error={"detail": "The disk is full."}))
    with pytest.raises(ForecastFailedError, match=r"Forecast fc_1 was cancelled\."):
        require_success(_info("dismissed"))


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
        ("accepted", None), ("lead_time", 1), ("lead_time", 2), ("successful", None),
    ]  # fmt: skip
    assert [request.headers["Last-Event-ID"] for request in run.requests] == ["0", "4", "4"]
    assert run.pauses == [0.2, 0.4]


def test_a_stream_that_ends_early_is_opened_again(service: Service) -> None:
    run = Run(
        follow_events(service, "fc_1"),
        [
            *[answer(), _event(1, "accepted"), b"", answer(), b"", answer(_info("running"))],
            *[answer(), _event(2, "dismissed")],
        ],
    )
    assert [event.kind for event in run.emitted] == ["accepted", "dismissed"]


def test_a_stream_without_events_ends_with_the_forecast(service: Service) -> None:
    assert Run(follow_events(service, "fc_1"), [answer(), b"", answer(_info("successful"))]).emitted == []


def test_following_events_ends_at_its_timeout_and_with_a_problem(service: Service) -> None:
    with pytest.raises(WaitTimeoutError, match="has not ended after 0 s"):
        Run(follow_events(service, "fc_1", 0.0), [answer(), b": ping\n\n", BROKEN])
    with pytest.raises(ServiceProblemError):
        Run(follow_events(service, "fc_1"), [problem(404, "no-such-forecast")])


def test_events_are_parsed_however_their_bytes_are_cut() -> None:
    stream = b': hello\n\nevent: a\ndata: {"x":\ndata: "\xc3\xa9"}\nid: 5\n\nretry: 1\n\n' + _event(6, "b", y=2)
    for size in (1, 3, 1000):
        parser, events = EventParser(), []
        for start in range(0, len(stream), size):
            events += parser.feed(stream[start : start + size])
        assert events == [("5", ("a", {"x": "é"})), ("6", ("b", {"y": 2}))]


def _whole(**headers: str) -> object:
    return answer(content_length=str(len(ZIP)), etag='"v1"', **headers)


def _part(start: int, etag: str = '"v1"') -> object:
    size = len(ZIP)
    return answer(
        None, 206, content_length=str(size - start), content_range=f"bytes {start}-{size - 1}/{size}", etag=etag
    )


def test_a_download_is_whole_under_its_name(service: Service, tmp_path: Path) -> None:
    reports: list[tuple[int, int | None]] = []
    steps = download(service, "fc_1", tmp_path / "e.zip", progress=lambda done, total: reports.append((done, total)))
    run = Run(steps, [_whole(), ZIP[:6], ZIP[6:], b""])
    assert (run.result, run.result.read_bytes()) == (tmp_path / "e.zip", ZIP)
    assert reports == [(6, 10), (10, 10)]
    assert [path.name for path in tmp_path.iterdir()] == ["e.zip"]
    umask = os.umask(0)
    os.umask(umask)
    assert run.result.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_download_continues_where_the_connection_broke(service: Service, tmp_path: Path) -> None:
    results = [
        _whole(),
        ZIP[:3],
        BROKEN,
        REFUSED,
        answer(None, 503),
        _part(3),
        ZIP[3:5],
        BROKEN,
        _part(5),
        ZIP[5:],
        b"",
    ]
    run = Run(download(service, "fc_1", tmp_path / "e.zip"), results)
    assert run.result.read_bytes() == ZIP
    assert [request.headers.get("Range") for request in run.requests] == [
        None, "bytes=3-", "bytes=3-", "bytes=3-", "bytes=5-",
    ]  # fmt: skip
    assert run.requests[-1].headers["If-Range"] == '"v1"'


@pytest.mark.parametrize(
    "again",
    [
        [_whole()],
        [answer(None, 416), _whole()],
        [_part(4), _whole()],
    ],
    ids=["200", "416", "another range"],
)
def test_a_download_starts_again_where_the_service_does_not_continue(
    again: list[object], service: Service, tmp_path: Path
) -> None:
    run = Run(download(service, "fc_1", tmp_path / "e.zip"), [_whole(), b"old", BROKEN, *again, ZIP, b""])
    assert run.result.read_bytes() == ZIP


@pytest.mark.parametrize("etag", ["", 'W/"v1"'])
def test_without_a_strong_etag_a_download_starts_again(etag: str, service: Service, tmp_path: Path) -> None:
    first = answer(**({"etag": etag} if etag else {}))
    run = Run(download(service, "fc_1", tmp_path / "e.zip"), [first, b"old", BROKEN, answer(), ZIP, b""])
    assert run.result.read_bytes() == ZIP
    assert "Range" not in run.requests[1].headers


def test_an_answer_that_ends_too_early_is_continued(service: Service, tmp_path: Path) -> None:
    run = Run(download(service, "fc_1", tmp_path / "e.zip"), [_whole(), ZIP[:9], b"", _part(9), ZIP[9:], b""])
    assert run.result.read_bytes() == ZIP


def test_a_download_that_never_advances_is_given_up(service: Service, tmp_path: Path) -> None:
    service.timeout_seconds = 0.0
    with pytest.raises(ServiceUnreachableError):
        Run(download(service, "fc_1", tmp_path / "e.zip"), [_whole(), BROKEN])


def test_a_download_that_is_refused_leaves_nothing(service: Service, tmp_path: Path) -> None:
    (tmp_path / "e.zip").write_text("before")
    with pytest.raises(ServiceProblemError):
        Run(download(service, "fc_1", tmp_path / "e.zip"), [_whole(), ZIP[:3], BROKEN, problem(410, "data-gone")])
    steps = download(service, "fc_1", tmp_path / "e.zip")
    next(steps)
    assert len([*tmp_path.iterdir()]) == 2
    steps.close()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_file_that_cannot_be_written_is_named_before_anything_is_sent(service: Service, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "e.zip"
    with pytest.raises(DownloadError, match=rf"The folder `{missing.parent}` does not exist"):
        Run(download(service, "fc_1", missing), [])
    with pytest.raises(DownloadError, match="is a folder"):
        Run(download(service, "fc_1", tmp_path), [])
    with pytest.raises(DownloadError, match=r"cannot be written: File name too long"):
        Run(download(service, "fc_1", tmp_path / ("e" * 300)), [])


def test_two_downloads_of_one_name_do_not_meet(service: Service, tmp_path: Path) -> None:
    first = download(service, "fc_1", tmp_path / "e.zip")
    next(first)
    Run(download(service, "fc_1", tmp_path / "e.zip"), [_whole(), ZIP, b""])
    for result in (_whole(), b"ABCDEFGHIJ"):
        first.send(result)
    with pytest.raises(StopIteration):
        first.send(b"")
    assert (tmp_path / "e.zip").read_bytes() == b"ABCDEFGHIJ"
