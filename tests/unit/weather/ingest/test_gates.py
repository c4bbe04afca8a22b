import contextlib
import json
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from tests.inputs import grib_messages, state
from weather.ingest.gate_hdf5 import check_hdf5
from weather.ingest.gate_netcdf3 import check_netcdf3
from weather.ingest.gates import check_grib
from weather.ingest.unpack import unpack_checked
from weather.readers.containers import DamagedError, SourceError, TooLargeError, Unpacking, UnsupportedError

VARIABLES = ("u10", "v10")


@pytest.fixture(scope="module")
def message() -> bytes:
    return grib_messages(state())[0]


@pytest.fixture
def unpacking() -> Iterator[Unpacking]:
    with ExitStack() as stack:
        yield Unpacking(stack)


def _huge_grid(content: bytes) -> bytes:
    """Declare 60000 × 30000 points."""
    position = content.index(struct.pack(">IB", 72, 3))
    changed = bytearray(content)
    changed[position + 6 : position + 10] = struct.pack(">I", 60000 * 30000)
    changed[position + 30 : position + 38] = struct.pack(">II", 60000, 30000)
    return bytes(changed)


def _message(sections: bytes) -> bytes:
    """Return a message of edition 2 with the given sections."""
    return b"GRIB\0\0\0\x02" + struct.pack(">Q", 20 + len(sections)) + sections + b"7777"


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message,
        lambda message: b"\r\r\n123 \r\r\nYTRA12 KWBC 150000\r\r\n" + message,
        lambda message: message + b"\r\r\n\x03" + message + bytes(5000) + message,
        lambda message: message + b"rest",
    ],
)
def test_headers_and_padding_around_messages_are_skipped(
    change: Callable[[bytes], bytes], message: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.grib2").write_bytes(change(message))
    check_grib(tmp_path / "a.grib2", "a.grib2")


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (lambda message: message[:900], DamagedError, "byte 0 is cut short"),
        (lambda message: message + message[:-1], DamagedError, "is cut short"),
        (_huge_grid, TooLargeError, "declares 1800000000 points"),
        (lambda message: message[:7] + b"\x03" + message[8:], UnsupportedError, "is of edition 3 of GRIB"),
        (lambda message: message[:16] + b"\xff" * 4 + message[20:], DamagedError, "has a section of 4294967295 bytes"),
        (lambda message: message[4:-4], DamagedError, "has no GRIB message"),
        (lambda message: _message(message[16:37]), DamagedError, "has no data section at its end"),
        (lambda message: message * 2001, TooLargeError, "more than 2000 fields"),
    ],
)
def test_grib_of_a_wrong_structure_is_refused_by_its_kind(
    change: Callable[[bytes], bytes], kind: type[SourceError], text: str, message: bytes, tmp_path: Path
) -> None:
    (tmp_path / "bad.grib2").write_bytes(change(message))
    with pytest.raises(kind, match=text) as caught:
        check_grib(tmp_path / "bad.grib2", "bad.grib2")
    assert ("damaged" in str(caught.value)) == (kind is DamagedError)
    assert "`bad.grib2`" in str(caught.value)


def test_ten_megabytes_of_tiny_sections_are_refused_at_once(tmp_path: Path) -> None:
    tiny = b"".join(struct.pack(">IB", 5, section) for section in (4, 7))
    (tmp_path / "tiny.grib2").write_bytes(_message(tiny * 1_000_000))
    began = time.process_time()
    with pytest.raises(TooLargeError, match="has more than 2000 fields"):
        check_grib(tmp_path / "tiny.grib2", "tiny.grib2")
    assert time.process_time() - began < 2


def _cdf(version: int, dims: int = 0, attributes: int = 0, variables: int = 0, own: int = 0) -> bytes:
    """Return a classic NetCDF file with numbers of dimensions, attributes, variables and attributes of each."""
    size = 8 if version == 5 else 4

    def count(number: int) -> bytes:
        return number.to_bytes(size)

    def named(items: str, index: int) -> bytes:
        text = f"{items}{index}".encode()
        return count(len(text)) + text.ljust(-(-len(text) // 4) * 4, b"\0")

    def listed(tag: int, items: list[bytes]) -> bytes:
        return struct.pack(">I", tag if items else 0) + count(len(items)) + b"".join(items)

    def attribute_list(number: int) -> bytes:
        values = [named("a", index) + struct.pack(">I", 2) + count(3) + b"abc\0" for index in range(number)]
        return listed(12, values)

    def variable(index: int) -> bytes:
        begin = ((1 << 16) + 4 * index).to_bytes(4 if version == 1 else 8)
        return named("v", index) + count(0) + attribute_list(own) + struct.pack(">I", 5) + count(4) + begin

    return b"".join(
        (
            b"CDF" + bytes([version]) + count(0),
            listed(10, [named("d", index) + count(1) for index in range(dims)]),
            attribute_list(attributes),
            listed(11, [variable(index) for index in range(variables)]),
        )
    )


@pytest.mark.parametrize("version", [1, 2, 5])
def test_headers_of_classic_netcdf_are_counted_before_they_are_read(version: int, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(_cdf(version, dims=3, attributes=2, variables=5, own=4).ljust(1 << 17, b"\0"))
    check_netcdf3(path, "a.nc")
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        assert (len(dataset.variables), len(dataset.v4.attrs)) == (5, 4)
    for counts, text in (
        ({"dims": 1001}, "has 1001 dimensions, and at most 1000"),
        ({"attributes": 20_001}, "has 20001 attributes, and at most 20000"),
        ({"variables": 1001}, "has 1001 variables, and at most 1000"),
        ({"variables": 500, "own": 41}, r"has 200\d\d attributes, and at most 20000"),
    ):
        path.write_bytes(_cdf(version, **counts))
        with pytest.raises(TooLargeError, match=text):
            check_netcdf3(path, "a.nc")


def test_every_cut_and_every_odd_byte_of_a_header_is_accepted_or_damage(tmp_path: Path) -> None:
    content = _cdf(5, dims=2, attributes=1, variables=2, own=1)
    changed = [content[:index] + b"\xff" + content[index + 1 :] for index in range(4, len(content))]
    for odd in (*(content[:length] for length in range(4, len(content))), *changed):
        (tmp_path / "a.nc").write_bytes(odd)
        with contextlib.suppress(DamagedError, TooLargeError):
            check_netcdf3(tmp_path / "a.nc", "a.nc")
            assert len(odd) == len(content)


def test_attributes_of_hdf5_are_counted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nc", "w", libver="latest") as file:
        for index in range(20):
            variable = file.create_group("group").create_dataset("v", 1, "f4") if not index else file["group/v"]
            for other in range(1001):
                variable.attrs[f"a{index}-{other}"] = 1
    with pytest.raises(TooLargeError, match="more than 20000 attributes"):
        check_hdf5(tmp_path / "a.nc", "a.nc")


@pytest.mark.parametrize("kind", ["external", "virtual", "soft", "other file"])
def test_hdf5_that_refers_to_other_files_is_refused(kind: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bad.nc", "w") as file:
        if kind == "external":
            file.create_dataset("u10", (2, 4, 4), "f4", external=[(str(tmp_path / "secret"), 0, 128)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2, 4, 4), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "u10", (2, 4, 4))
            file.create_virtual_dataset("u10", layout)
        else:
            file["u10"] = h5py.SoftLink("/v10") if kind == "soft" else h5py.ExternalLink(str(tmp_path / "o.h5"), "/u10")
    with pytest.raises(UnsupportedError, match=r"`bad\.nc`: `u10` (is a soft or external link|keeps its values)"):
        check_hdf5(tmp_path / "bad.nc", "bad.nc")


def test_hdf5_of_many_items_of_deep_items_damaged_and_empty_are_distinguished(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "many.nc", "w", libver="latest") as file:
        for index in range(1001):
            file.create_group(str(index))
    with h5py.File(tmp_path / "deep.nc", "w") as file:
        file.create_group("a/b/c/d/e/f")
    h5py.File(tmp_path / "empty.nc", "w").close()
    (tmp_path / "cut.nc").write_bytes((tmp_path / "deep.nc").read_bytes()[:600])
    for name, kind, text in (
        ("many.nc", TooLargeError, "more than 1000 variables"),
        ("deep.nc", UnsupportedError, "nested more than 4 deep"),
        ("empty.nc", UnsupportedError, "without any variable"),
        ("cut.nc", DamagedError, "may be damaged"),
    ):
        with pytest.raises(kind, match=text):
            check_hdf5(tmp_path / name, name)


def _array(**fields: object) -> dict[str, Any]:
    """Return the metadata of an array of version 3."""
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4, 4],
        "data_type": "float32",
        "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "bytes"}],
        "attributes": {},
        "dimension_names": ["station", "kind"],
    }
    return metadata | fields


def _zip(store: Path, target: Path, **more: object) -> Path:
    """Write a store into a zip, with further members as JSON."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(store.rglob("*")):
            if path.is_file() and str(path.relative_to(store)) not in more:
                archive.write(path, path.relative_to(store))
        for name, content in more.items():
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return target


@pytest.fixture
def store(tmp_path: Path) -> Path:
    state().to_zarr(tmp_path / "winds.zarr", zarr_format=3, consolidated=False)
    return tmp_path / "winds.zarr"


HOSTILE = {
    "texts": _array(data_type="string", shape=[100_000_000]),
    "records": _array(data_type={"name": "structured", "configuration": {"fields": []}}),
    "objects": _array(data_type="r64"),
    "huge": _array(shape=[1_000_000, 1_000_000]),
    "pickled": _array(codecs=[{"name": "numcodecs.pickle"}]),
    "chunks": _array(shape=[400, 400], chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1, 1]}}),
    "shards": _array(
        shape=[400, 400],
        chunk_grid={"name": "regular", "configuration": {"chunk_shape": [400, 400]}},
        codecs=[{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 1], "codecs": [{"name": "bytes"}]}}],
    ),
    "no chunks": _array(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0, 0]}}),
    "truth values": _array(shape=[True, True]),
    "many dimensions": _array(
        shape=[1] * 40, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1] * 40}}
    ),
    "long texts": _array(data_type={"name": "fixed_length_utf32", "configuration": {"length_bytes": 10**9}}),
    "nonsense": _array(shape="everything", codecs=7, data_type=None, chunk_grid=[]),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_an_unrelated_array_of_any_type_is_left_out(
    hostile: str, store: Path, tmp_path: Path, unpacking: Unpacking
) -> None:
    path = _zip(store, tmp_path / "a.zip", **{f"other/{'zarr.json'}": HOSTILE[hostile], "other/c/0/0": "\x80chunk"})
    opened = unpack_checked(path, "a.zip", VARIABLES, unpacking)
    assert [(part.format, part.name) for part in opened] == [("Zarr", "a.zip")]
    assert not (Path(opened[0].location) / "other").exists()
    with xr.open_zarr(opened[0].location, chunks=None, consolidated=False) as dataset:
        xr.testing.assert_equal(dataset[["u10", "v10"]].compute(), state())


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", ["u10", "time", "height"])
def test_an_array_that_is_needed_is_refused_by_its_name(
    name: str, hostile: str, store: Path, tmp_path: Path, unpacking: Unpacking
) -> None:
    dims = {"u10": ["time", "latitude", "longitude"], "time": ["time"], "height": []}[name]
    metadata = HOSTILE[hostile] | {"dimension_names": dims}
    path = _zip(store, tmp_path / "a.zip", **{f"{name}/zarr.json": metadata})
    with pytest.raises(UnsupportedError, match=rf"`a\.zip`: its array `{name}` (is of|has|declares|names)") as caught:
        unpack_checked(path, "a.zip", VARIABLES, unpacking)
    assert "damaged" not in str(caught.value)


def test_python_objects_of_version_2_are_refused_unless_they_are_texts(
    store: Path, tmp_path: Path, unpacking: Unpacking
) -> None:
    array = {"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|O", "compressor": None, "fill_value": 0}
    for filters, is_kept in (([{"id": "pickle"}], False), (None, False), ([{"id": "vlen-utf8"}], True)):
        members = {"name/.zarray": array | {"filters": filters}, "name/.zattrs": {"_ARRAY_DIMENSIONS": ["x"]}}
        path = _zip(store, tmp_path / "a.zip", **members)
        opened = unpack_checked(path, "a.zip", VARIABLES, unpacking)
        assert (Path(opened[0].location) / "name/.zarray").exists() == is_kept


@pytest.mark.parametrize(
    ("members", "kind", "text"),
    [
        ({"zarr.json": "[" * 100_000}, DamagedError, "`zarr.json` is not JSON"),
        ({"zarr.json": "[]"}, DamagedError, "`zarr.json` is not a JSON object"),
        ({"u10/zarr.json": {"x": list(range(300_000))}}, TooLargeError, "bytes of metadata, and at most 1000000"),
        (
            {f"v{number}/zarr.json": _array() for number in range(1001)},
            TooLargeError,
            "has 100. arrays, and at most 1000",
        ),
        ({"u10": "a file"}, DamagedError, "a name in it is that of a file and of a folder"),
    ],
)
def test_metadata_that_cannot_be_right_is_refused(
    members: dict[str, Any], kind: type[SourceError], text: str, store: Path, tmp_path: Path, unpacking: Unpacking
) -> None:
    with pytest.raises(kind, match=text):
        unpack_checked(_zip(store, tmp_path / "a.zip", **members), "a.zip", VARIABLES, unpacking)


def test_consolidated_metadata_is_not_handed_on(store: Path, tmp_path: Path, unpacking: Unpacking) -> None:
    root = json.loads((store / "zarr.json").read_text())
    root["consolidated_metadata"] = {"kind": "inline", "metadata": {"u10": HOSTILE["objects"]}}
    path = _zip(store, tmp_path / "a.zip", **{"zarr.json": root, ".zmetadata": {"metadata": {}}})
    location = Path(unpack_checked(path, "a.zip", VARIABLES, unpacking)[0].location)
    assert "consolidated_metadata" not in json.loads((location / "zarr.json").read_text())
    assert not (location / ".zmetadata").exists()


def test_values_of_all_accepted_arrays_are_unpacked(store: Path, tmp_path: Path, unpacking: Unpacking) -> None:
    mask = xr.Dataset(
        {"mask": (("y", "x"), np.ones((3, 4), np.int8)), "name": ("y", np.array(["a", "b", "c"], object))}
    )
    mask.to_zarr(store, mode="a", consolidated=False)
    opened = unpack_checked(_zip(store, tmp_path / "a.zip"), "a.zip", VARIABLES, unpacking)
    with xr.open_zarr(opened[0].location, chunks=None, consolidated=False) as dataset:
        assert dataset["mask"].values.sum() == 12
        assert list(dataset["name"].values) == ["a", "b", "c"]
