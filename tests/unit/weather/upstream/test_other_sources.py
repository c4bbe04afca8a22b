"""Whole files by a template, Zarr stores, and the cache of what was fetched."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analyses import analysis_messages, hour
from tests.inputs import state, state_spec
from tests.origins import AnalysisServer, status
from weather.errors import UpstreamError, UpstreamRefusedError
from weather.ingest.parent import ingest_initial_state
from weather.upstream.cache import AnalysisCache

NOON = hour("2026-03-01T12")
_STEP = np.timedelta64(6, "h")
_ARRAYS = {"u10": "10m_u_component_of_wind", "v10": "10m_v_component_of_wind"}


def _file(server: AnalysisServer) -> str:
    return f'[file]\nkind = "file"\nurl = "{server.url}/{{yyyymmddhh}}.grib2"\nlookback_hours = 24\n'


def test_whole_files_are_fetched_once_and_a_part_is_no_analysis(make: Any, server: AnalysisServer) -> None:
    dataset = make("file", text=_file(server))
    content = b"".join(analysis_messages(NOON))
    server.files["/2026030112.grib2"] = content[:-5]
    server.files["/2026030106.grib2"] = b"".join(analysis_messages(NOON - _STEP))
    assert dataset.find_newest(NOON) is None
    server.files["/2026030112.grib2"] = content
    assert dataset.find_newest(NOON) == NOON
    server.requests.clear()
    (path,) = dataset.fetch([NOON])
    assert (path.read_bytes(), server.requests) == (content, [])
    server.files["/2026030118.grib2"] = content
    with pytest.raises(UpstreamRefusedError, match=r"is of 2026-03-01T12:00 and not of 2026-03-01T18:00"):
        dataset.find_newest(NOON + _STEP)
    server.files["/2026030200.grib2"] = b"<html>no</html>"
    with pytest.raises(UpstreamRefusedError, match="files of no accepted format"):
        dataset.fetch([NOON + 2 * _STEP])


def _zarr(server: AnalysisServer, folder: Path, chunk: int) -> str:
    """Put a store with five times until noon on the server, in the layout of WeatherBench 2; return its definition."""
    fields = state(frames=5, newest=NOON).rename(_ARRAYS).transpose("time", "longitude", "latitude")
    encoding = {name: {"chunks": (chunk, 36, 19)} for name in _ARRAYS.values()}
    fields.to_zarr(folder / "store", zarr_format=2, consolidated=True, encoding=encoding)
    for path in (folder / "store").rglob("*"):
        if path.is_file():
            server.files[f"/a/store.zarr/{path.relative_to(folder / 'store')}"] = path.read_bytes()
    arrays = ", ".join(f'{name} = "{array}"' for name, array in _ARRAYS.items())
    return f'[era]\nkind = "zarr"\nurl = "{server.url}/a/store.zarr"\narrays = {{ {arrays} }}\n'


@pytest.mark.parametrize("chunk", [1, 3])
def test_the_chunks_of_past_times_are_fetched_from_a_store(
    chunk: int, make: Any, server: AnalysisServer, tmp_path: Path
) -> None:
    dataset = make("era", text=_zarr(server, tmp_path, chunk))
    assert dataset.find_newest(NOON + np.timedelta64(900, "D")) == NOON
    files = dataset.fetch([NOON - _STEP, NOON])
    assert len(files) == (2 if chunk == 1 else 1)
    read = ingest_initial_state(files, [path.name for path in files], state_spec(), NOON)
    expected = state(frames=5, newest=NOON)
    for frame, time in zip(read.frames, (NOON, NOON - _STEP), strict=True):
        fields = expected.sel(time=time)
        np.testing.assert_allclose(frame[0], np.stack([fields[name].values for name in _ARRAYS]), atol=1e-5)
    if chunk == 1:
        requested = {path for _, path, _ in server.requests if "component" in path}
        assert not [path for path in requested if path.rpartition("/")[2].startswith(("0", "1", "2"))]
        del server.files["/a/store.zarr/10m_u_component_of_wind/1.0.0"]
        with pytest.raises(UpstreamError, match="no whole analysis of 2026-02-28T18:00"):
            dataset.fetch([NOON - 3 * _STEP])
        with pytest.raises(UpstreamError, match="no whole analysis of 2026-03-01T11:00"):
            dataset.fetch([NOON - np.timedelta64(1, "h")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda metadata: metadata.clear(), "KeyError"),
        (lambda metadata: metadata["time/.zattrs"].update(_ARRAY_DIMENSIONS=["../x"]), "'time' are not valid"),
        (lambda metadata: metadata[f"{_ARRAYS['u10']}/.zarray"].update(chunks=[1, 1, 1]), "more than 200 chunks"),
        (lambda metadata: metadata[f"{_ARRAYS['u10']}/.zarray"].update(shape=["5", 36, 19]), "are not valid"),
        (lambda metadata: metadata[f"{_ARRAYS['u10']}/.zarray"].update(chunks=[2, 36, 19]), "different numbers"),
        (lambda metadata: metadata[f"{_ARRAYS['u10']}/.zattrs"].update(_ARRAY_DIMENSIONS=list("abc")), "no dimension"),
    ],
)
def test_odd_metadata_of_a_store_are_refused(
    change: Any, message: str, make: Any, server: AnalysisServer, tmp_path: Path
) -> None:
    dataset = make("era", text=_zarr(server, tmp_path, 1))
    document = json.loads(server.files["/a/store.zarr/.zmetadata"])
    change(document["metadata"])
    server.files["/a/store.zarr/.zmetadata"] = json.dumps(document).encode()
    with pytest.raises(UpstreamRefusedError, match=message):
        dataset.find_newest(NOON)


def test_an_address_without_a_store_is_refused(make: Any, server: AnalysisServer, tmp_path: Path) -> None:
    dataset = make("era", text=_zarr(server, tmp_path, 1))
    server.fail("/a/store.zarr/.zmetadata", status(404))
    with pytest.raises(UpstreamRefusedError, match="no Zarr store with consolidated metadata"):
        dataset.find_newest(NOON)


def test_the_cache_forgets_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = AnalysisCache(tmp_path, 250)
    paths = [cache.store("a", f"{index}.grib2", bytes(100)) for index in range(2)]
    for path, age in zip(paths, (2e9, 1e9), strict=True):
        os.utime(path, (age, age))
    cache.store("b", "2.grib2", bytes(100))
    assert cache.find("a", "0.grib2") == paths[0]
    assert cache.find("a", "1.grib2") is None
    assert cache.count_bytes() == 200
    cache.store("b", "3.grib2", bytes(1000))
    assert cache.count_bytes() == 1000, "the newest file is kept, however large it is"


def test_a_damaged_file_of_the_cache_is_fetched_again(make: Any, server: AnalysisServer) -> None:
    dataset = make()
    (path,) = dataset.fetch([NOON])
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"8")
    (path,) = dataset.fetch([NOON])
    assert path.read_bytes() == content


def test_an_analysis_that_several_need_at_once_is_fetched_once(make: Any, server: AnalysisServer) -> None:
    datasets, results = [make() for _ in range(4)], list[Path]()
    threads = [threading.Thread(target=lambda each=each: results.extend(each.fetch([NOON]))) for each in datasets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert sum(text is not None for _, _, text in server.requests) == 1
