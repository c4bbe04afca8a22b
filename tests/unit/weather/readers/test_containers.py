import bz2
import gzip
import io
import random
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.inputs import grib_messages, state, write_netcdf
from weather.readers import containers
from weather.readers.containers import (
    DamagedError,
    FullDiskError,
    Limits,
    Opened,
    SourceError,
    TooLargeError,
    Unpacking,
    UnsupportedError,
)
from weather.readers.sources import open_path, open_source
from weather.readers.zips import open_zip

GRIB = b"GRIB\0\0\0\x02" + bytes(100)
NETCDF = b"CDF\x01" + bytes(100)

_gzip = partial(gzip.compress, mtime=0)  # else names of tests have the time, which differs between processes


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _open(path: Path, stack: ExitStack, limits: Limits | None = None) -> list[Opened]:
    return open_path(path, path.name, Unpacking(stack, limits))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (GRIB, "GRIB"),
        (b"\x01\r\r\n012\r\r\nYTRA12 KWBC 150000\r\r\n" + GRIB, "GRIB"),
        (b"GRIB is mentioned here" + bytes(3000) + GRIB, "GRIB"),
        (NETCDF, "NetCDF"),
        (b"CDF\x05" + bytes(10), "NetCDF"),
        (_gzip(GRIB), "GRIB"),
        (_gzip(GRIB[:50]) + _gzip(GRIB[50:]), "GRIB"),
        (bz2.compress(NETCDF), "NetCDF"),
        (_gzip(bz2.compress(NETCDF)), "NetCDF"),
    ],
)
def test_a_format_is_known_by_its_bytes_whatever_the_file_is_called(
    content: bytes, expected: str, stack: ExitStack, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert [(opened.format, opened.name) for opened in _open(tmp_path / "file", stack)] == [(expected, "file")]


@pytest.mark.parametrize(
    ("content", "description"),
    [
        (b"", "an empty file"),
        (b"Dear sirs", "a text file of 9 bytes of neither"),
        (bytes(9), "a file of 9 bytes of neither"),
        (b"<!DOCTYPE html><title>Not found</title>", "an HTML or XML page of 39 bytes"),
        (b"BUFR" + bytes(50), "BUFR, which holds observations"),
        (b"\x0e\x03\x13\x01" + bytes(50), "HDF4"),
        (_gzip(b"hello"), "a text file of 5 bytes"),
        (_gzip(_gzip(GRIB)), "Got: gzip in gzip"),
        (b"GRIB\0\0\0\x05" + bytes(100), "a file of 108 bytes of neither"),
    ],
)
def test_other_content_is_named_and_not_called_damaged(
    content: bytes, description: str, stack: ExitStack, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(
        UnsupportedError, match="`file` must be GRIB, NetCDF or Zarr, or one of them in a zip"
    ) as caught:
        _open(tmp_path / "file", stack)
    assert description in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_tar_archive_is_named(stack: ExitStack, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "winds.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.nc"), io.BytesIO(b""))
    with pytest.raises(UnsupportedError, match="Got: a tar archive"):
        _open(tmp_path / "winds.tar.gz", stack)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_a_compressed_file_that_is_cut_short_is_damaged(
    compress: Callable[[bytes], bytes], stack: ExitStack, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(compress(GRIB)[:-8])
    with pytest.raises(DamagedError, match=r"`file` cannot be read as .*The file may be damaged or cut short\."):
        _open(tmp_path / "file", stack)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_a_compressed_file_that_grows_enormously_is_refused_before_it_has_grown(
    compress: Callable[[bytes], bytes], stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "bomb").write_bytes(compress(GRIB + bytes(100_000_000)))
    with pytest.raises(TooLargeError, match=r"`bomb` grows more than 200 times"):
        _open(tmp_path / "bomb", stack)
    written = sum(path.stat().st_size for path in tmp_path.glob("warmcast-*/*"))
    assert written < 25_000_000


def test_all_unpacked_bytes_count_towards_the_limit(stack: ExitStack, tmp_path: Path) -> None:
    content = {f"{index}.grib.gz": gzip.compress(GRIB + bytes(900)) for index in range(10)}
    _zip(tmp_path / "many.zip", content)
    assert len(_open(tmp_path / "many.zip", stack, Limits(max_bytes=20_000))) == 10
    with pytest.raises(TooLargeError, match=r"`many\.zip/\d\.grib\.gz` has more than 5000 bytes when it is unpacked"):
        _open(tmp_path / "many.zip", stack, Limits(max_bytes=5000))


def test_files_of_a_zip_are_found_whatever_their_names(stack: ExitStack, tmp_path: Path) -> None:
    members = {
        "data stream-oper (1).nc": NETCDF,
        "värld/fält": GRIB,
        "inner.gz": _gzip(GRIB),
        "__MACOSX/._fält": b"\0\x05\x16\x07",
        "._x": b"\0\x05\x16\x07",
        "folder/.DS_Store": b"\0\0\0\1Bud1",
        "README.txt": b"How to read these files",
    }
    opened = _open(_zip(tmp_path / "a.zip", members), stack)
    assert [(part.format, part.name) for part in opened] == [
        ("NetCDF", "a.zip/data stream-oper (1).nc"),
        ("GRIB", "a.zip/värld/fält"),
        ("GRIB", "a.zip/inner.gz"),
    ]
    assert Path(opened[1].location).read_bytes() == GRIB


def test_stores_and_files_of_one_zip_are_found(stack: ExitStack, tmp_path: Path) -> None:
    store = {"zarr.json": b"{}", "u10/zarr.json": b"{}", "u10/c/0": b"1"}
    members = {f"{folder}/{name}": content for folder in ("a/u.zarr", "v.zarr") for name, content in store.items()}
    opened = _open(_zip(tmp_path / "both.zip", members | {"w.nc": NETCDF}), stack)
    assert [(part.format, part.group) for part in opened] == [
        ("zipped Zarr", "a/u.zarr"),
        ("zipped Zarr", "v.zarr"),
        ("NetCDF", None),
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "is a zip without any file"),
        ({"folder/": b""}, "is a zip without any file"),
        ({"notes.txt": b"Nothing"}, r"`bad\.zip/notes\.txt` must be GRIB.*Got: a text file of 7 bytes"),
        ({"../a.nc": NETCDF}, r"its member `\.\./a\.nc` must be named by a path inside the zip"),
        ({"/a.nc": NETCDF}, "must be named by a path inside the zip"),
        ({"a\\..\\b.nc": NETCDF}, "must be named by a path inside the zip"),
    ],
)
def test_zips_without_data_or_with_paths_out_of_them_are_refused(
    members: dict[str, bytes], message: str, stack: ExitStack, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        _open(_zip(tmp_path / "bad.zip", members), stack)
    assert "damaged" not in str(caught.value)


def test_the_growth_of_a_large_file_is_found_at_its_start(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(containers, "_HEAD_BYTES", 10_000_000)
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    blocks = [packed.compress(GRIB), *(packed.compress(bytes(1 << 20)) for _ in range(100)), packed.flush()]
    (tmp_path / "bomb").write_bytes(b"".join(blocks) + bytes(5_000_000))  # the end would allow for 1 GB
    with pytest.raises(TooLargeError, match="`bomb` grows more than 200 times"):
        _open(tmp_path / "bomb", stack)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*-content")) < 50_000_000


def test_a_file_may_start_with_empty_values(stack: ExitStack, tmp_path: Path) -> None:
    content = GRIB + bytes(50_000_000) + random.Random(0).randbytes(1_000_000)
    (tmp_path / "file").write_bytes(gzip.compress(content, 9))
    assert Path(_open(tmp_path / "file", stack)[0].location).read_bytes() == content


@pytest.mark.parametrize("name", ["a//b.nc", "/b.nc", "a/../b.nc", "../b.nc", "a\\b.nc", "a/" * 60 + "b.nc"])
def test_a_member_that_is_named_by_no_plain_path_is_refused(name: str, stack: ExitStack, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"must be (named by a path inside the zip|at most 50 folders deep)"):
        _open(_zip(tmp_path / "a.zip", {name: NETCDF}), stack)


def test_members_that_overlap_are_refused(stack: ExitStack, tmp_path: Path) -> None:
    content = _zip(tmp_path / "a.zip", {"a.nc": NETCDF + random.Random(0).randbytes(5000)}).read_bytes()
    start = content.index(b"PK\x01\x02")
    entry, end = content[start : start + 50], bytearray(content[start + 50 :])
    end[8:12], end[12:16] = struct.pack("<HH", 9, 9), struct.pack("<I", 9 * len(entry))
    (tmp_path / "a.zip").write_bytes(content[:start] + entry * 9 + end)
    with pytest.raises(DamagedError, match="its members overlap"):
        _open(tmp_path / "a.zip", stack)


def test_the_number_of_files_to_read_is_limited(stack: ExitStack, tmp_path: Path) -> None:
    members = {f"{number}.nc": NETCDF for number in range(4)}
    path = _zip(tmp_path / "a.zip", members)
    assert len(_open(path, stack, Limits(max_files=4))) == 4
    with pytest.raises(TooLargeError, match="more than 3 files and stores to read"):
        _open(path, stack, Limits(max_files=3))


def test_a_full_disk_is_not_damage_of_the_file(stack: ExitStack) -> None:
    for blocks in ([bytes(10)], [bytes(1 << 20)]):
        with pytest.raises(FullDiskError, match="The disk is full while `a` is unpacked"):
            Unpacking(stack).save(iter(blocks), "a", 100_000, Path("/dev/full"))


def test_a_zip_in_a_zip_is_refused_by_name(stack: ExitStack, tmp_path: Path) -> None:
    inner = _zip(tmp_path / "inner.zip", {"a.nc": NETCDF}).read_bytes()
    with pytest.raises(UnsupportedError, match=r"`outer\.zip/inner\.zip` must be GRIB.*Got: zip in zip"):
        _open(_zip(tmp_path / "outer.zip", {"inner.zip": inner}), stack)
    (tmp_path / "deep").write_bytes(gzip.compress(bz2.compress(inner)))
    with pytest.raises(UnsupportedError, match="Got: zip in bzip2 in gzip"):
        _open(tmp_path / "deep", stack)


def test_a_member_that_grows_enormously_is_refused_before_it_is_read(stack: ExitStack, tmp_path: Path) -> None:
    bomb = _zip(tmp_path / "bomb.zip", {"a.nc": NETCDF + bytes(50_000_000)})
    with pytest.raises(TooLargeError, match=r"its member `a\.nc` grows more than 200 times"):
        _open(bomb, stack)


def test_a_member_that_lies_about_its_size_is_damaged(stack: ExitStack, tmp_path: Path) -> None:
    content = bytearray(_zip(tmp_path / "liar.zip", {"a.nc": NETCDF + bytes(5_000_000)}).read_bytes())
    position = content.index(b"PK\x01\x02")
    content[position + 24 : position + 28] = struct.pack("<I", 1000)
    (tmp_path / "liar.zip").write_bytes(content)
    with pytest.raises(SourceError, match="liar"):
        _open(tmp_path / "liar.zip", stack)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*-content")) < 2_000_000


def test_a_link_and_an_encrypted_member_are_refused(stack: ExitStack, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("u10.nc")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsupportedError, match=r"must be a file\. Got: a link"):
        _open(tmp_path / "link.zip", stack)
    content = bytearray(_zip(tmp_path / "locked.zip", {"a.nc": NETCDF}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(UnsupportedError, match="must not be encrypted"):
        _open(tmp_path / "locked.zip", stack)


def test_other_compression_than_deflate_is_named(stack: ExitStack, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"compressed by deflate\. Got: method 14"):
        _open(_zip(tmp_path / "a.zip", {"a.nc": NETCDF}, zipfile.ZIP_LZMA), stack)


def _directory_of(path: Path, count: int, *, declared: int | None = None, is_64: bool = False) -> Path:
    """Write a zip whose directory has `count` entries of one empty member, by default declared truthfully."""
    single = _zip(path, {"a": b""}, zipfile.ZIP_STORED).read_bytes()
    start, end = single.index(b"PK\x01\x02"), single.index(b"PK\x05\x06")
    directory = single[start:end] * count
    declared = count if declared is None else declared
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, *[min(declared, 0xFFFF)] * 2, len(directory), start, 0)
    if is_64:
        position = start + len(directory)
        sizes = (declared, declared, len(directory), start)
        record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, *sizes)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, position, 1)
        tail = record + locator + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)
    path.write_bytes(single[:start] + directory + tail)
    return path


@pytest.mark.parametrize(("declared", "is_64"), [(None, True), (3, True), (3, False), (None, False)])
def test_two_million_members_are_refused_before_the_directory_is_read(
    declared: int | None, is_64: bool, tmp_path: Path
) -> None:
    path = _directory_of(tmp_path / "many.zip", 2_000_000, declared=declared, is_64=is_64)
    began = time.process_time()
    with (
        pytest.raises(TooLargeError, match=r"`many\.zip` has \d+ members in a directory of \d+ bytes"),
        open_zip(path, "many.zip", Limits()),
    ):
        pass
    assert time.process_time() - began < 1


def test_a_zip64_of_few_members_is_read(stack: ExitStack, tmp_path: Path) -> None:
    _directory_of(tmp_path / "few.zip", 3, is_64=True)
    with open_zip(tmp_path / "few.zip", "few.zip", Limits()) as archive:
        assert len(archive.infolist()) == 3


def test_every_damaged_zip_is_refused_as_a_source(stack: ExitStack, tmp_path: Path) -> None:
    content = _zip(tmp_path / "good.zip", {"a.nc": NETCDF, "b.grib": GRIB}).read_bytes()
    messages = list[str]()
    for position in range(4, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        (tmp_path / "bad.zip").write_bytes(damaged)
        try:
            opened = _open(tmp_path / "bad.zip", stack)
        except SourceError as error:
            messages.append(str(error))
        else:
            assert all(zlib.crc32(Path(part.location).read_bytes()) for part in opened)
    assert all("`bad.zip" in message for message in messages)
    (tmp_path / "bad.zip").write_bytes(content[:-30])
    with pytest.raises(DamagedError, match=r"cannot be read as a zip"):
        _open(tmp_path / "bad.zip", stack)


def test_file_addresses_are_decoded(stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "of two words.nc").write_bytes(NETCDF)
    address = f"file://{tmp_path}/of%20two%20words.nc"
    assert [opened.location for opened in open_source(address, stack)] == [str(tmp_path / "of two words.nc")]
    assert open_source(f"file://localhost{tmp_path}/of%20two%20words.nc", stack)[0].name.startswith("file://localhost")


def test_a_folder_without_metadata_and_a_missing_file_are_named(stack: ExitStack, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="is a folder but no Zarr store"):
        open_source(str(tmp_path), stack)
    with pytest.raises(SourceError, match=r"cannot be opened: No such file"):
        open_source(str(tmp_path / "missing.nc"), stack)


def test_temporary_files_last_as_long_as_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    write_netcdf(state(), tmp_path / "a.nc")
    _zip(tmp_path / "b.zip", {"zarr.json": b"{}"})
    (tmp_path / "c").write_bytes(gzip.compress(b"".join(grib_messages(state()))))
    before = sorted(tmp_path.iterdir())
    with ExitStack() as stack:
        formats = [open_source(str(path), stack)[0].format for path in before]
    assert formats == ["NetCDF", "zipped Zarr", "GRIB"]
    assert sorted(tmp_path.iterdir()) == before
