from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from training.data.loader import Loader
from training.data.loading import load_training_data
from weather.grids import Grid
from weather.testing import travelling_waves

CPU = torch.device("cpu")
GRID = Grid.from_coordinates(np.linspace(-78.75, 78.75, 8), np.arange(16) * 22.5)


def _write(path: Path, encoding: dict[str, object], offset: float = 0.0) -> Path:
    times = [np.datetime64("2001-01-01T00", "s") + np.timedelta64(6 * step, "h") for step in range(60)]
    waves: xr.Dataset = travelling_waves(GRID, times) + np.float32(offset)
    waves = waves.rename(u10="t2m", v10="msl")
    waves["t2m"].attrs["units"], waves["msl"].attrs["units"] = "K", "Pa"
    waves.to_netcdf(path, encoding={name: dict(encoding) for name in waves.data_vars})
    return path


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [
        ({"dtype": "int16", "scale_factor": 0.01, "_FillValue": -32768}, torch.int16),
        ({"dtype": "int16", "scale_factor": 0.002, "add_offset": 280.0, "_FillValue": -32768}, torch.int16),
        ({"dtype": "uint16", "scale_factor": 0.002, "add_offset": 200.0, "_FillValue": 65535}, torch.int16),
        ({"dtype": "float32"}, torch.float32),
        ({"dtype": "float64"}, torch.float32),
    ],
)
@pytest.mark.parametrize("keep", ["host", "stream"])
def test_frames_in_memory_are_exact_to_the_packing_of_their_file(
    encoding: dict[str, object], dtype: torch.dtype, keep: str, tmp_path: Path
) -> None:
    path = _write(tmp_path / "a.nc", encoding, float(str(encoding.get("add_offset", 0.0))) and 270.0)
    with load_training_data([path], ("t2m", "msl")) as data:
        assert data.reader.packing.dtype == dtype
        indices = np.arange(1, 59)
        expected = data.batch(indices)
        data.keep("host" if keep == "host" else "stream", CPU)
        assert (data.kept is None) == (keep == "stream")
        (batch,) = Loader(data, lambda _: indices, range(1), CPU)
    tolerance = 1e-3 * float(str(encoding.get("scale_factor", 0.0))) + (3e-5 if "add_offset" in encoding else 0)
    np.testing.assert_allclose(batch.target.numpy(), expected.target.numpy(), rtol=0, atol=tolerance)
