from pathlib import Path

import eccodes
import numpy as np
import pytest

from benchmarks.reading import make_messages, read_frames, scan_and_decode

MESSAGES = 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.grib2"
    path.write_bytes(b"".join(make_messages(19, 36, MESSAGES)))
    return path


def test_the_file_has_many_variables_and_the_wind_of_two_times(path: Path) -> None:
    names = []
    with path.open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
            names.append(eccodes.codes_get(handle, "shortName"))
            eccodes.codes_release(handle)
    assert len(names) == MESSAGES
    assert (names.count("10u"), names.count("10v")) == (2, 2)
    assert len(set(names)) > 10


def test_both_ways_read_the_same_values(path: Path) -> None:
    frames, alone = read_frames(path), scan_and_decode(path)
    assert np.isclose(frames.u10.values.std(), 5, atol=3)
    ours = [frames[name].values[time].ravel() for name in ("u10", "v10") for time in (0, 1)]
    np.testing.assert_allclose(ours, alone, atol=1e-5)
