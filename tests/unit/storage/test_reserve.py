import errno
import os
from pathlib import Path

import pytest

from storage.reserve import DiskReserve


def test_the_space_is_allocated_given_up_once_and_allocated_again(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path, 300_000)
    assert (reserve.is_held, reserve.has_space()) == (False, False)
    assert reserve.hold()
    assert (tmp_path / ".reserve").stat().st_blocks * 512 >= 300_000, "the file must not be sparse"
    assert DiskReserve(tmp_path, 300_000).has_space(), "another process sees it"
    assert [reserve.give_up(), reserve.give_up()] == [True, False]
    assert not reserve.has_space()
    assert reserve.hold()
    assert [path.name for path in tmp_path.iterdir()] == [".reserve"]


def test_no_reserve_is_held_where_as_much_again_is_not_free(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path, 10**15)
    assert not reserve.hold()
    assert list(tmp_path.iterdir()) == []


def test_without_a_size_there_is_always_space(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path / "absent", 0)
    assert (reserve.hold(), reserve.has_space(), reserve.give_up()) == (True, True, False)


@pytest.mark.parametrize(("number", "is_held"), [(errno.EOPNOTSUPP, True), (errno.ENOSPC, False)])
def test_a_file_system_that_cannot_allocate_gets_the_bytes_written(
    number: int, is_held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert DiskReserve(tmp_path, 1_500_000).hold() == is_held
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [1_500_000] * is_held
