"""Analyses of servers with indexes: whole ones are found and fetched by byte ranges, whatever the servers do."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.errors import ConfigurationError
from tests.analyses import analysis_messages, hour
from tests.origins import (
    AnalysisServer,
    Fault,
    cut,
    endless,
    path_of,
    redirect,
    silent,
    status,
    usual,
    whole_file,
)
from weather.errors import UpstreamError, UpstreamRefusedError
from weather.upstream.messages import check_analysis
from weather.upstream.registry import UpstreamOptions, enabled_datasets

NOON = hour("2026-03-01T12")
_STEP = np.timedelta64(6, "h")


@pytest.mark.parametrize("name", ["noaa", "ecmwf"])
def test_the_newest_analyses_are_found_and_only_the_needed_bytes_are_fetched(
    name: str, make: Any, server: AnalysisServer, meter: Any
) -> None:
    dataset = make(name)
    now = NOON + np.timedelta64(3, "h")
    assert dataset.find_newest(now) == NOON
    assert dataset.list_times(NOON - 5 * _STEP, now) == [NOON - 2 * _STEP, NOON - _STEP, NOON]
    files = dataset.fetch([NOON - _STEP, NOON])
    assert [path.name for path in files] == [f"{name}.2026030106.grib2", f"{name}.2026030112.grib2"]
    for path, time in zip(files, (NOON - _STEP, NOON), strict=True):
        assert path.read_bytes() == b"".join(analysis_messages(time))
        check_analysis(path.read_bytes(), time, ("u10", "v10"))
    assert sum(text is not None for _, _, text in server.requests) == 2, "one range for both adjacent messages"
    assert meter.results["failed"] == 0


def test_what_is_known_or_cached_is_not_requested_again(make: Any, server: AnalysisServer) -> None:
    dataset = make()
    dataset.find_newest(NOON)
    dataset.fetch([NOON])
    server.requests.clear()
    assert dataset.find_newest(NOON) == NOON
    dataset.fetch([NOON])
    make().fetch([NOON])  # another process
    assert server.requests == []


def test_a_late_cycle_is_not_there_yet_and_the_one_before_is_the_newest(make: Any, server: AnalysisServer) -> None:
    dataset, evening = make(), NOON + _STEP
    for code in (404, 403):
        server.fail(f"{path_of(evening)}.idx", status(code))
        assert dataset.find_newest(evening) == NOON
    server.publish(evening)
    assert dataset.find_newest(evening) == evening


def test_an_index_before_its_last_messages_is_no_whole_analysis(make: Any, server: AnalysisServer) -> None:
    dataset, whole = make(), server.files[path_of(NOON)]
    index = server.files[f"{path_of(NOON)}.idx"]
    first_bytes = len(b"GRIB") + 64
    server.files[path_of(NOON)] = whole[: first_bytes + 100]
    assert dataset.find_newest(NOON) == NOON - _STEP
    with pytest.raises(UpstreamError, match="noaa has no whole analysis of 2026-03-01T12:00 on localhost") as error:
        dataset.fetch([NOON])
    assert error.value.is_retryable
    server.files[path_of(NOON)] = whole
    server.files[f"{path_of(NOON)}.idx"] = index[: index.index(b":VGRD") + 8]
    assert dataset.find_newest(NOON) == NOON - _STEP
    server.files[f"{path_of(NOON)}.idx"] = index
    assert dataset.find_newest(NOON) == NOON
    del server.files[path_of(NOON)]
    with pytest.raises(UpstreamError):
        dataset.fetch([NOON])


@pytest.mark.parametrize(
    ("fault", "is_body"), [(status(500), False), (status(503), True), (status(429), True), (cut(), True)]
)
@pytest.mark.parametrize("suffix", ["", ".idx"])
def test_what_may_pass_is_repeated_with_growing_pauses(
    fault: Fault, is_body: bool, suffix: str, make: Any, server: AnalysisServer, meter: Any
) -> None:
    before = [usual()] if is_body and not suffix else []  # the request for the size has no body
    server.fail(path_of(NOON) + suffix, *before, fault, *before, fault)
    assert make().fetch([NOON])[0].read_bytes() == b"".join(analysis_messages(NOON))
    assert meter.results["repeated"] == len(meter.pauses) == 2
    assert 1 <= meter.pauses[0] <= 1.5
    assert 2 <= meter.pauses[1] <= 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(503), "localhost answers with the status 503, 4 times"),
        (cut(), "the answer is cut short, 4 times"),
    ],
)
def test_what_does_not_pass_is_an_error_that_names_the_host(
    fault: Fault, message: str, make: Any, server: AnalysisServer, meter: Any, tmp_path: Path
) -> None:
    server.fail(f"{path_of(NOON)}.idx", *[fault] * 10)
    with pytest.raises(UpstreamError, match=message) as error:
        make().fetch([NOON])
    assert (error.value.is_retryable, error.value.dataset, meter.results["failed"]) == (True, "noaa", 1)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and "lock" not in path.name]


def test_a_silent_server_is_left_after_a_while(make: Any, server: AnalysisServer, meter: Any) -> None:
    released = threading.Event()
    server.fail(f"{path_of(NOON)}.idx", *[silent(released)] * 2)
    try:
        with pytest.raises(UpstreamError, match="localhost"):
            make(request_seconds=0.1, attempts=2).find_newest(NOON)
    finally:
        released.set()


def test_the_time_of_all_attempts_is_bounded(make: Any, server: AnalysisServer, meter: Any) -> None:
    server.fail(f"{path_of(NOON)}.idx", *[status(500)] * 9)
    with pytest.raises(UpstreamError, match="status 500, 1 times"):
        make(total_seconds=1.0, attempts=9).find_newest(NOON)
    assert meter.pauses == []


def test_messages_of_a_wrong_hour_are_refused(make: Any, server: AnalysisServer) -> None:
    server.publish(NOON, content_time=NOON - _STEP)
    for name in ("noaa", "ecmwf"):
        with pytest.raises(UpstreamRefusedError, match=r"is of 2026-03-01T06:00.*not the analysis of 2026-03-01T12:00"):
            make(name).fetch([NOON])


@pytest.mark.parametrize("name", ["noaa", "ecmwf"])
def test_an_index_of_a_wrong_hour_is_refused(name: str, make: Any, server: AnalysisServer) -> None:
    noon, morning = (
        [f"{path_of(time)}.idx", path_of(time, ecmwf=True).replace(".grib2", ".index")] for time in (NOON, NOON - _STEP)
    )
    for path, other in zip(noon, morning, strict=True):
        server.files[path] = server.files[other].replace(b"scda", b"oper")
    with pytest.raises(UpstreamRefusedError, match=r"its index is of 20260301 ?06 and not of 20260301 ?12"):
        make(name).find_newest(NOON)


def test_messages_of_another_variable_are_refused(make: Any, server: AnalysisServer) -> None:
    index = server.files[f"{path_of(NOON)}.idx"]
    swapped = index.replace(b"UGRD", b"x").replace(b"VGRD", b"UGRD").replace(b"x", b"VGRD")
    server.files[f"{path_of(NOON)}.idx"] = swapped
    with pytest.raises(UpstreamRefusedError, match="the message is not of v10"):
        make().fetch([NOON])


@pytest.mark.parametrize(
    ("suffix", "fault", "message"),
    [
        (".idx", endless(), "its server sends more than 5000000 bytes"),
        ("", None, "its server does not answer requests for a part of a file"),
        (".idx", redirect("http://127.0.0.1:1/x"), "localhost redirects to another address"),
        (".idx", redirect("http://169.254.169.254/latest"), "localhost redirects to another address"),
        (".idx", redirect("file://localhost/weather.nc"), "localhost redirects to another address"),
        (".idx", status(401), "localhost answers with the status 401"),
    ],
)
def test_what_is_not_accepted_is_refused_at_once(
    suffix: str, fault: Fault | None, message: str, make: Any, server: AnalysisServer, meter: Any
) -> None:
    faults = [usual(), whole_file()] if fault is None else [fault]
    server.fail(path_of(NOON) + suffix, *faults)
    with pytest.raises(UpstreamRefusedError, match=message):
        make().fetch([NOON])
    assert meter.results["refused"] == 1
    assert meter.pauses == []


def test_a_redirect_on_the_same_host_is_followed(make: Any, server: AnalysisServer) -> None:
    server.files["/moved"] = server.files[f"{path_of(NOON)}.idx"]
    server.fail(f"{path_of(NOON)}.idx", redirect("/moved"))
    assert make().fetch([NOON])
    server.fail(f"{path_of(NOON - _STEP)}.idx", *[redirect(f"{path_of(NOON - _STEP)}.idx")] * 9)
    with pytest.raises(UpstreamRefusedError, match="redirects more than 3 times"):
        make().fetch([NOON - _STEP])


def test_an_address_that_is_not_public_must_be_allowed(make: Any, server: AnalysisServer) -> None:
    with pytest.raises(UpstreamRefusedError, match="localhost has no public address; WARMCAST_DATASETS_NETWORKS"):
        make(networks="10.0.0.0/8").find_newest(NOON)
    assert server.requests == []


def test_http_must_be_allowed(tmp_path: Path, server: AnalysisServer) -> None:
    (tmp_path / "datasets.toml").write_text(server.definitions())
    with pytest.raises(ConfigurationError, match="must begin with https://"):
        enabled_datasets(UpstreamOptions(("noaa",), tmp_path / "datasets.toml"), tmp_path)


@pytest.mark.parametrize(
    "url", ["https://{yyyymmdd}.org/{hh}", "ftp://a/{yyyymmddhh}", "https://u@a/{yyyymmddhh}", "/x"]
)
def test_the_host_of_an_address_is_fixed(url: str, make: Any) -> None:
    text = f'[noaa]\nkind = "grib-index"\nindex = "idx"\nurl = "{url}"\nindex_url = "{url}"\nparameters.u10 = "U"\n'
    with pytest.raises(ConfigurationError, match="url"):
        make(text=text)


@pytest.mark.parametrize(
    "index", [b"\xff\n", b"<html>\n", b"1:x:d=2026030112:UGRD:10 m above ground:anl:\n", b"[]\n", b"{\n"]
)
@pytest.mark.parametrize("name", ["noaa", "ecmwf"])
def test_a_page_in_place_of_an_index_is_an_error(name: str, index: bytes, make: Any, server: AnalysisServer) -> None:
    for path in [path for path in server.files if path.endswith((".idx", ".index"))]:
        server.files[path] = index
    with pytest.raises(UpstreamError, match="its index is"):
        make(name).find_newest(NOON)


def test_the_built_in_data_sets_can_be_enabled_and_contact_nothing(tmp_path: Path) -> None:
    names = ("gfs-0p25", "gfs-1p00", "gfs-nomads", "ecmwf-ifs", "ecmwf-aifs", "era5-arco", "era5-weatherbench2")
    datasets = enabled_datasets(UpstreamOptions(names), tmp_path)
    assert datasets["gfs-0p25"].description.hosts == ("noaa-gfs-bdp-pds.s3.amazonaws.com",)
    assert datasets["ecmwf-ifs"].description.licence == "CC-BY-4.0"
    assert not [*tmp_path.iterdir()]
