"""Hostile files, uploads and stored files: each is refused, is read within limits, and leaves nothing.

Each case is a row of the table in `docs/security.md`.
"""

import gzip
import io
import json
import socket
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import pytest

from tests.campaign.abuse import Target, check_health, open_target
from tests.helpers import wait_until
from tests.inputs import grib_messages, state, write_netcdf, write_zipped_zarr
from tests.served import Served, small_request

_SECRET = b"root:secret-of-another-file"
_GROUP = b'{"zarr_format": 3, "node_type": "group"}'


def _zip(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def _bomb(folder: Path) -> bytes:
    with (
        zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.grib2", "w", force_zip64=True) as member,
    ):
        for _ in range(3000):
            member.write(bytes(1 << 20))
    return (folder / "bomb.zip").read_bytes()


def _gzip_bomb(_: Path) -> bytes:
    return b"".join(gzip.compress(bytes(1 << 24)) for _ in range(200))


def _many_members(_: Path) -> bytes:
    return _zip(*((f"{number}.grib2", b"") for number in range(30_000)))


def _link(_: Path) -> bytes:
    link = zipfile.ZipInfo("link.grib2")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return _zip((link, b"/etc/passwd"))


def _overlapping(_: Path) -> bytes:
    """Return a zip whose directory names one member 20 000 times."""
    content = bytearray(_zip(("a.grib2", b"GRIB" + bytes(1000))))
    end = content.rindex(b"PK\x05\x06")
    start = content.rindex(b"PK\x01\x02")
    entry, tail = bytes(content[start:end]), content[end:]
    number = 20_000
    tail[8:12] = number.to_bytes(2, "little") * 2
    tail[12:16] = (len(entry) * number).to_bytes(4, "little")
    return bytes(content[:start]) + entry * number + bytes(tail)


def _external(folder: Path) -> bytes:
    (folder / "secret").write_bytes(_SECRET)
    with h5py.File(folder / "external.nc", "w") as file:
        external = [(str(folder / "secret"), 0, len(_SECRET))]
        file.create_dataset("u10", shape=(len(_SECRET),), dtype="u1", external=external)
    return (folder / "external.nc").read_bytes()


def _linked(folder: Path) -> bytes:
    with h5py.File(folder / "linked.nc", "w") as file:
        file["u10"] = h5py.ExternalLink("/etc/passwd", "/")
        file["v10"] = h5py.SoftLink("/u10")
    return (folder / "linked.nc").read_bytes()


def _many_data_sets(folder: Path) -> bytes:
    with h5py.File(folder / "many.nc", "w") as file:
        for number in range(20_000):
            file.create_dataset(f"d{number}", shape=(), dtype="i1")
    return (folder / "many.nc").read_bytes()


def _huge_zarr(_: Path) -> bytes:
    array = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [10**6, 10**6],
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6, 10**6]}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
    }
    return _zip(("zarr.json", _GROUP), ("u10/zarr.json", json.dumps(array).encode()))


def _pickled(_: Path) -> bytes:
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "filters": [{"id": "pickle"}], "order": "C"}
    return _zip((".zgroup", b'{"zarr_format": 2}'), ("u10/.zarray", json.dumps(array).encode()), ("u10/0", b"cos\n."))


def _tiny_sections(_: Path) -> bytes:
    body = (5).to_bytes(4, "big") + b"\x01"
    content = body * 2_000_000
    return b"GRIB\0\0\0\x02" + (16 + len(content) + 4).to_bytes(8, "big") + content + b"7777"


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"Dear sirs, " * 1000,
    "zip-bomb": _bomb,
    "gzip-bomb": _gzip_bomb,
    "zip-in-zip-in-zip": lambda _: _zip(("a.zip", _zip(("b.zip", _zip(("c.grib2", b"GRIB")))))),
    "zip-of-30000-members": _many_members,
    "zip-of-overlapping-members": _overlapping,
    "zip-with-link": _link,
    "zip-with-traversal": lambda _: _zip(("../../../../tmp/escaped.grib2", b"GRIB"), ("/etc/escaped", b"x")),
    "zip-with-nul-in-name": lambda _: _zip(("a\x00b.grib2", b"GRIB"), ("b\r\nc", b"x")),
    "zarr-with-huge-array": _huge_zarr,
    "zarr-with-pickle": _pickled,
    "zarr-with-json-bomb": lambda _: _zip(("zarr.json", b"[" * 50_000_000)),
    "zarr-with-deep-json": lambda _: _zip(("zarr.json", b'{"a":' * 100_000), ("u10/zarr.json", b"[" * 9000)),
    "hdf5-with-external-storage": _external,
    "hdf5-with-external-link": _linked,
    "hdf5-of-20000-data-sets": _many_data_sets,
    "grib-of-tiny-sections": _tiny_sections,
    "grib-cut": lambda _: b"GRIB\0\0\0\x02" + (10**9).to_bytes(8, "big") + bytes(100),
}


@pytest.fixture(scope="module")
def target(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    served = Served(tmp_path_factory.mktemp("abuse") / "data", untrained_checkpoint.parent)
    yield open_target(served)
    served.client.close()
    served.stop()


@pytest.fixture
def at_length(request: pytest.FixtureRequest) -> None:
    """Skip cases that take long, unless in `make campaign`."""
    if int(request.config.getoption("--kills")) < 10:
        pytest.skip("needs --kills 10 or more, as in make campaign")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(at_length: None, target: Target, name: str, tmp_path: Path) -> None:
    content = HOSTILE[name](tmp_path)
    memory = target.memory()
    submission = json.dumps(small_request(initial_state={"source": "upload"}))
    for answer in (
        target.upload([content]),
        target.upload([content], "/v1/forecast", request=submission),
        target.upload([content], target.forecast_path("/verify"), reference="hostile"),
    ):
        assert answer.status in (413, 415, 422), answer
        assert answer.problem, answer
        assert not [text for text in (_SECRET, b"root:", str(tmp_path).encode()) if text in answer.content]
    assert target.memory() < memory + 150_000_000
    assert not Path("/tmp/escaped.grib2").exists()
    check_health(target)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # of members that Zarr rewrites
def test_valid_files_are_accepted_after_hostile_ones(target: Target, tmp_path: Path) -> None:
    wind = state()
    for content in (
        b"".join(grib_messages(wind)),
        write_netcdf(wind, tmp_path / "wind.nc").read_bytes(),
        write_zipped_zarr(wind, tmp_path / "wind.zip").read_bytes(),
    ):
        answer = target.upload([content])
        assert answer.status == 200, answer
        assert json.loads(answer.content)["can_start"], answer


def test_too_many_files_are_refused(target: Target) -> None:
    assert target.upload([b"GRIB"] * 9).problem == "validation"
    assert target.upload([b"GRIB"] * 101, target.forecast_path("/verify"), reference="a").problem == "validation"
    check_health(target)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\\..\\b", "a\x00b", "x" * 5000, "\u202egnp.exe", "a\r\nX: y", '"']
)
def test_names_of_files_are_only_text(target: Target, name: str) -> None:
    head = f'--b\r\nContent-Disposition: form-data; name="initial_state"; filename="{name}"\r\n\r\n'
    body = head.encode() + b"not weather\r\n--b--\r\n"
    answer = target.ask("POST", "/v1/inspect", ("Content-Type", "multipart/form-data; boundary=b"), body=body)
    assert answer.status in (415, 422), answer
    assert "x: y" not in answer.headers
    assert "\u202e" not in json.loads(answer.content)["detail"]
    check_health(target)


def test_an_upload_that_breaks_off_leaves_nothing(target: Target) -> None:
    before = len(target.log.splitlines())
    whole = target.encode(
        "POST", "/v1/inspect", ("Content-Type", "multipart/form-data; boundary=b"), body=bytes(50_000_000)
    )
    for size in (500, 5000, 30_000_000):
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", target.port), timeout=60) as connection:
            connection.sendall(whole[:size])  # which is closed earlier if the form is refused
    wait_until(lambda: "POST /v1/inspect 499" in "\n".join(target.log.splitlines()[before:]))
    check_health(target)


def _chunk(target: Target) -> tuple[Path, str]:
    """Return a stored chunk of the forecast, and its path in the API."""
    folder = target.served.data / "forecasts" / target.forecast_id
    chunk = min(
        path for path in (folder / "ensemble.zarr/u10").rglob("*") if path.is_file() and path.name != "zarr.json"
    )
    return chunk, target.forecast_path(f"/{chunk.relative_to(folder)}")


def test_a_damaged_chunk_is_a_problem_without_paths(target: Target) -> None:
    chunk, path = _chunk(target)
    content = chunk.read_bytes()
    assert target.ask("GET", path).status == 200
    chunk.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    answer = target.ask("GET", path)
    chunk.write_bytes(content)
    assert (answer.status, answer.problem) == (409, "damaged")
    assert str(target.served.data).encode() not in answer.content
    assert target.ask("GET", path).status == 200


def test_a_link_in_a_store_is_not_followed(target: Target) -> None:
    chunk, path = _chunk(target)
    content = chunk.read_bytes()
    chunk.unlink()
    chunk.symlink_to("/etc/passwd")
    answer = target.ask("GET", path)
    chunk.unlink()
    chunk.write_bytes(content)
    assert answer.status in (404, 409), answer
    assert b"root:" not in answer.content
