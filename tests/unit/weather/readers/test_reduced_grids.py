from pathlib import Path

import eccodes
import numpy as np

from tests.inputs import write_grib
from weather.readers.grib import read_grib


def test_a_reduced_gaussian_grid_is_interpolated_linearly_along_its_rows(tmp_path: Path) -> None:
    handle = eccodes.codes_grib_new_from_samples("reduced_gg_sfc_grib2")
    eccodes.codes_set(handle, "shortName", "10u")
    lengths = eccodes.codes_get_array(handle, "pl")
    latitudes = np.sort(eccodes.codes_get_array(handle, "distinctLatitudes"))[::-1]
    rows = [
        latitude / 10 + 3 * np.cos(2 * np.pi * np.arange(length) / length + 1)
        for latitude, length in zip(latitudes, lengths, strict=True)
    ]
    eccodes.codes_set(handle, "bitsPerValue", 20)
    eccodes.codes_set_values(handle, np.concatenate(rows))
    path = write_grib(tmp_path / "reduced.grib2", [eccodes.codes_get_message(handle)])
    eccodes.codes_release(handle)
    (record,) = read_grib(path, "reduced.grib2", ("u10",)).records
    grid = record.points.grid
    assert grid.shape == (len(lengths), lengths.max())
    expected = np.array(grid.latitude)[:, None] / 10 + 3 * np.cos(np.radians(grid.longitude) + 1)
    coarseness = 3 * (2 * np.pi / lengths[:, None]) ** 2 / 8
    assert (np.abs(record.read() - expected) <= coarseness + 1e-3).all()
