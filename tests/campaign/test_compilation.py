"""Machines on which networks cannot be compiled: they are evaluated without, after one warning.

They take minutes, so they run in `make campaign` only.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.models.test_compilation import compile_apart

_LEAST = 10


def _broken_cache(folder: Path) -> dict[str, str]:
    cache = folder / "cache"
    cache.write_text("a file instead of a folder")
    return {"TORCHINDUCTOR_CACHE_DIR": str(cache)}


BROKEN: dict[str, Callable[[Path], dict[str, str]]] = {
    "no C compiler": lambda folder: {"CXX": "/no/such/compiler", "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")},
    "a C compiler that fails": lambda folder: {"CXX": "false", "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")},
    "broken cache": _broken_cache,
    "read-only home and cache": lambda _: {
        "HOME": "/proc/none",
        "TMPDIR": "/proc",
        "TORCHINDUCTOR_CACHE_DIR": "/proc/none",
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_machine_that_cannot_compile_evaluates_without_after_one_warning(
    request: pytest.FixtureRequest, name: str, tmp_path: Path
) -> None:
    if int(request.config.getoption("--kills")) < _LEAST:
        pytest.skip(f"needs --kills {_LEAST} or more, as in make campaign")
    process = compile_apart(tmp_path / "records", **BROKEN[name](tmp_path))
    assert process.returncode == 0, process.stderr
    assert "failure None" not in process.stdout
    assert process.stderr.count("LOG Networks cannot be compiled and are evaluated without") == 1
    assert list((tmp_path / "records").glob("*")) == []
