"""Zips that are made range by range, read by `zipfile`."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from weather.stores.zipped import ZipMember, ZipPlan

FILES = {"zarr.json": b"{}", **{f"u10/c.0.{number}": bytes(range(number)) * 7 for number in range(20)}}


def _plan() -> ZipPlan:
    return ZipPlan(
        [
            ZipMember(name, len(content), content if number % 2 else None)
            for number, (name, content) in enumerate(FILES.items())
        ]
    )


def _whole(plan: ZipPlan) -> bytes:
    return b"".join(plan.blocks(0, plan.size_bytes, FILES.__getitem__))


def test_a_zip_is_that_of_its_files() -> None:
    content = _whole(_plan())
    assert len(content) == _plan().size_bytes
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


def test_every_range_is_that_of_the_whole_zip() -> None:
    whole, draw = _whole(_plan()), np.random.default_rng(0)
    for first, last in np.sort(draw.integers(0, len(whole) + 1, (200, 2))).tolist():
        assert b"".join(_plan().blocks(first, last, FILES.__getitem__)) == whole[first:last]
    assert b"".join(_plan().blocks(len(whole) - 1, len(whole), FILES.__getitem__)) == whole[-1:]


def test_the_index_of_a_zip_that_was_read_needs_no_file_again() -> None:
    plan = _plan()
    whole = _whole(plan)
    assert b"".join(plan.blocks(len(whole) - 30, len(whole), {}.__getitem__)) == whole[-30:]


def test_the_digest_depends_on_names_sizes_and_known_contents() -> None:
    plans = [[("a", 1, b"x")], [("b", 1, b"x")], [("a", 2, None)], [("a", 1, b"y")], [("a", 1, b"x"), ("b", 0, b"")]]
    assert len({ZipPlan([ZipMember(*member) for member in plan]).digest for plan in plans}) == len(plans)


def test_more_files_than_two_bytes_count_are_read() -> None:
    plan = ZipPlan([ZipMember(f"{number}", 0, b"") for number in range(65_600)])
    with zipfile.ZipFile(io.BytesIO(b"".join(plan.blocks(0, plan.size_bytes, FILES.__getitem__)))) as archive:
        assert len(archive.namelist()) == 65_600


def test_files_beyond_four_gigabytes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The large file is a hole: of its content only the size counts, and its checksum is not computed."""
    plan = ZipPlan([ZipMember("hole", 2**32 - 2), ZipMember("first", 3, b"abc"), ZipMember("last", 4, b"defg")])
    plan._checksums[0] = 0
    start = 2**32 - 2 + 30 + len("hole")
    with (tmp_path / "large.zip").open("wb") as file:
        file.seek(start)
        for block in plan.blocks(start, plan.size_bytes, FILES.__getitem__):
            file.write(block)
        assert file.tell() == plan.size_bytes
    with zipfile.ZipFile(tmp_path / "large.zip") as archive:
        assert [entry.header_offset > 2**32 for entry in archive.infolist()] == [False, True, True]
        assert (archive.read("first"), archive.read("last")) == (b"abc", b"defg")
