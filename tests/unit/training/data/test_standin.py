import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from training.data.loader import Loader
from training.data.loading import load_training_data
from training.data.order import SampleOrder
from training.data.standin import STATIC_FIELDS, make_store
from weather.errors import TrainingDataError
from weather.grids import Grid

SURFACE = ("u10", "v10", "t2m", "msl")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 frames on both sides of the turn of the year."""
    path = tmp_path_factory.mktemp("store") / "1959-2023_01_10-6h-64x32_equiangular_conservative.zarr"
    make_store(path, first="2017-12-17", times=120, chunk_times=8)
    return path


def test_the_layout_is_the_published_one(store: Path) -> None:
    metadata = json.loads((store / ".zmetadata").read_text())["metadata"]
    wind = metadata["10m_u_component_of_wind/.zarray"]
    assert (wind["zarr_format"], wind["dtype"], wind["chunks"]) == (2, "<f4", [8, 64, 32])
    assert wind["compressor"]["cname"] == "lz4"
    assert metadata["10m_u_component_of_wind/.zattrs"]["_ARRAY_DIMENSIONS"] == ["time", "longitude", "latitude"]
    with xr.open_zarr(store) as dataset:
        assert dataset["2m_temperature"].dims == ("time", "longitude", "latitude")
        assert dataset["geopotential"].dims == ("time", "level", "longitude", "latitude")
        assert dataset["land_sea_mask"].dims == ("longitude", "latitude")
        assert float(dataset.latitude[0]) == -87.1875
        assert str(dataset.time.values[1])[:13] == "2017-12-17T06"


def test_training_data_are_the_frames_and_the_papers_static_fields(store: Path) -> None:
    with load_training_data([store], SURFACE, static_fields=tuple(STATIC_FIELDS), years=(2018,)) as data:
        assert data.grid.shape == (32, 64)
        assert data.static.shape == (5, 32, 64)
        np.testing.assert_allclose(data.static.std(axis=(1, 2)), 1, rtol=1e-4)
        assert str(data.valid_times[0]) == "2018-01-01T00:00:00"
        frames = data.frames(np.array([3, 7]))
        with xr.open_zarr(store) as dataset:
            expected = dataset["mean_sea_level_pressure"].sel(time=data.valid_times[[3, 7]].astype("datetime64[ns]"))
            ordered = expected.transpose("time", "latitude", "longitude").values[:, ::-1]
        np.testing.assert_array_equal(frames[:, 3], ordered)


def test_a_missing_chunk_is_named_as_values_that_are_not_finite(store: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "a.zarr", times=40, chunk_times=8)
    (tmp_path / "a.zarr/10m_v_component_of_wind/1.0.0").unlink()
    with (
        load_training_data([tmp_path / "a.zarr"], ("u10", "v10")) as data,
        pytest.raises(TrainingDataError, match=r"`v10` of `.*a\.zarr` is not finite at 2017-12-03T00"),
    ):
        data.statistics((2017,))


def test_a_store_is_streamed_to_batches(store: Path) -> None:
    memory_bytes = 2_600_000
    with load_training_data([store], ("u10", "v10"), features=("sin_latitude",)) as data:
        assert data.keep("auto", torch.device("cpu"), 1_000_000) == "stream"
        order = SampleOrder(data, (2017, 2018), 2, 0, memory_bytes)
        assert order.reach < 118
        steps = range(order.steps_per_epoch)
        with Loader(data, order.indices, steps, torch.device("cpu"), memory_bytes) as batches:
            for step, batch in zip(steps, batches, strict=True):
                assert torch.equal(batch.target, data.batch(order.indices(step)).target)


def test_statistics_of_a_stream_are_those_of_all_frames_and_are_read_again_from_the_cache(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "statistics.json"
    with load_training_data([store], SURFACE) as data:
        chosen = np.flatnonzero(data.valid_times < np.datetime64("2018-01-01"))
        normalisation, extremes = data.statistics((2017,), cache)
        frames, weights = data.frames(chosen).astype(np.float64), data.grid.area_weights[:, None]
        for channel, variable in enumerate(normalisation):
            field = frames[:, channel]
            mean = 0.0 if variable.name in ("u10", "v10") else (field * weights).mean()
            assert variable.mean == pytest.approx(mean, rel=1e-9)
            assert variable.std == pytest.approx(np.sqrt(((field - mean) ** 2 * weights).mean()), rel=1e-9)
        assert extremes.num_frames == len(chosen)
    with load_training_data([store], SURFACE) as data:
        monkeypatch.setattr(data.reader, "read", None)
        assert data.statistics((2017,), cache) == (normalisation, extremes)
        with pytest.raises(TypeError):
            data.statistics((2018,), cache)


def test_frames_are_regridded_while_they_are_read(store: Path) -> None:
    grid = Grid.from_coordinates(np.linspace(-67.5, 67.5, 4), np.arange(8) * 45.0)
    with load_training_data([store], ("t2m",), grid=grid, static_fields=("orog",)) as data:
        assert data.frames(np.array([0])).shape == (1, 1, 4, 8)
        assert data.static.shape == (1, 4, 8)
        coarse = (data.frames(np.array([5]))[0, 0] * grid.area_weights[:, None]).mean()
    with load_training_data([store], ("t2m",)) as data:
        fine = (data.frames(np.array([5]))[0, 0] * data.grid.area_weights[:, None]).mean()
    assert coarse == pytest.approx(fine, rel=1e-6)
