import os
from pathlib import Path

import pytest

from tests.unit.warmcast.scripted import BROKEN, REFUSED, Run, answer, problem
from warmcast.downloads import download
from warmcast.errors import DownloadError, ServiceProblemError, ServiceUnreachableError
from warmcast.exchange import Service

ZIP = b"0123456789"


@pytest.fixture
def service() -> Service:
    return Service("http://service", None, 60.0)


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
        None,
        "bytes=3-",
        "bytes=3-",
        "bytes=3-",
        "bytes=5-",
    ]
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
        Run(download(service, "fc_1", tmp_path / f"{'e' * 300}.zip"), [])


def test_two_downloads_to_one_name_do_not_interfere(service: Service, tmp_path: Path) -> None:
    first = download(service, "fc_1", tmp_path / "e.zip")
    next(first)
    Run(download(service, "fc_1", tmp_path / "e.zip"), [_whole(), ZIP, b""])
    for result in (_whole(), b"ABCDEFGHIJ"):
        first.send(result)
    with pytest.raises(StopIteration):
        first.send(b"")
    assert (tmp_path / "e.zip").read_bytes() == b"ABCDEFGHIJ"


def test_the_end_of_the_name_chooses_the_format_and_the_options_a_part(service: Service, tmp_path: Path) -> None:
    part = {"parameters": ["u10", "v10"], "members": [0, 2], "times": "../2026-04-21", "bbox": (-15, 35, 30, 60.5)}
    run = Run(download(service, "fc_1", tmp_path / "e.nc", **part), [_whole(), ZIP, b""])
    (request,) = run.requests
    assert (request.path, request.parameters) == (
        "/forecast/fc_1/ensemble.nc",
        {"parameter-name": "u10,v10", "members": "0,2", "datetime": "../2026-04-21", "bbox": "-15,35,30,60.5"},
    )
    texts = {"parameters": "u10", "members": "0-2", "bbox": ""}
    run = Run(download(service, "fc_1", tmp_path / "e.grib2", summary=True, **texts), [_whole(), ZIP, b""])
    (request,) = run.requests
    assert request.path == "/forecast/fc_1/summary.grib2"
    assert request.parameters == {"parameter-name": "u10", "members": "0-2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.grib2", "e.nc"]


def test_a_zip_has_the_first_lead_times_of_the_members_or_of_the_summary(service: Service, tmp_path: Path) -> None:
    for summary, store in ((False, "ensemble"), (True, "summary")):
        steps = download(service, "fc_1", tmp_path / "first.zip", first=3, summary=summary)
        (request,) = Run(steps, [_whole(), ZIP, b""]).requests
        assert request.path == f"/forecast/fc_1/as-of/3/{store}.zarr.zip"
    with pytest.raises(DownloadError, match="Only a zip has the `first` lead times"):
        Run(download(service, "fc_1", tmp_path / "e.nc", first=3), [])


def test_a_format_that_does_not_exist_and_a_part_of_a_zip_are_refused(service: Service, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"must end with .zip, .nc, .grib2. Got: `e.h5`"):
        Run(download(service, "fc_1", tmp_path / "e.h5"), [])
    for part in ({"summary": True}, {"members": [1]}, {"bbox": "0,0,1,1"}):
        with pytest.raises(DownloadError, match="A zip has the whole ensemble"):
            Run(download(service, "fc_1", tmp_path / "e.zip", **part), [])
    assert not list(tmp_path.iterdir())
