import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from typer.testing import CliRunner

from diagnostics.figures import plot
from storage.errors import ConfigurationError
from storage.paths import storage_path
from tests.helpers import random_state
from warmcast.cli import app
from weather.errors import StoreError, VerificationError
from weather.ingest.exchange import save_initial_state
from weather.initial_state import InitialState
from weather.manifest import ModelSpec
from weather.region import Region
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout

MEMBERS = 5


@pytest.fixture
def state(spec: ModelSpec) -> InitialState:
    return random_state(analyses=2)


@pytest.fixture
def store(spec: ModelSpec, state: InitialState, tmp_path: Path) -> EnsembleStore:
    """A forecast of four lead times and two groups, whose values are random."""
    layout = Layout(
        state.init_time, 4, np.timedelta64(6, "h"), tuple(range(MEMBERS)), 3, ("u10", "v10"), spec.grid.grid
    )
    store, rng = EnsembleStore.create(storage_path(tmp_path / "ensemble.zarr"), layout, {}), np.random.default_rng(0)
    for lead_index in range(4):
        for group in range(2):
            shape = (len(layout.group_members(group)), 2, *spec.grid.grid.shape)
            store.commit(group, lead_index, rng.normal(0, 5, shape).astype(np.float32))
    return store


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are turned into PNG files during the test."""
    drawn: list[Figure] = []
    to_png: Callable[[Figure], bytes] = plot.to_png

    def record(figure: Figure) -> bytes:
        drawn.append(figure)
        return to_png(figure)

    monkeypatch.setattr(plot, "to_png", record)
    return drawn


def _plot(folder: Path, **options: Any) -> list[str]:
    defaults: dict[str, Any] = {"lead_times": (), "latitude": 51.5, "longitude": 0.0}
    pictures: list[str] = plot.plot(folder=folder, **defaults | options)["pictures"]
    return pictures


def _save_analyses(store: EnsembleStore, path: Path, lead_indices: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Write random analyses of some lead times to a file, and return them, (variable, latitude, longitude)."""
    layout, rng = store.layout, np.random.default_rng(1)
    fields = rng.normal(0, 5, (len(lead_indices), 2, *layout.grid.shape)).astype(np.float32)
    times = [layout.valid_time(index) for index in lead_indices]
    dimensions = ("time", "latitude", "longitude")
    variables = {
        name: (dimensions, fields[:, channel], {"units": "m s-1"}) for channel, name in enumerate(layout.variables)
    }
    coordinates = {"time": times, "latitude": list(layout.grid.latitude), "longitude": list(layout.grid.longitude)}
    xr.Dataset(variables, coordinates).to_netcdf(path)
    return list(fields)


def test_both_pictures_are_written_next_to_the_store(store: EnsembleStore, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "ensemble.zarr"):
        pictures = _plot(folder)
        assert pictures == [str(tmp_path / "maps.png"), str(tmp_path / "plume.png")]
        for picture in pictures:
            image = matplotlib.image.imread(io.BytesIO(Path(picture).read_bytes()))
            assert len(np.unique(image.reshape(-1, 4), axis=0)) > 20


def test_the_plume_starts_with_the_analysis_of_the_folder(
    store: EnsembleStore, state: InitialState, tmp_path: Path, figures: list[Figure]
) -> None:
    save_initial_state(state, tmp_path / "initial_state")
    _plot(tmp_path, latitude=-60, longitude=100)
    grid = store.layout.grid
    row, column = np.abs(np.array(grid.latitude) + 60).argmin(), np.abs(np.array(grid.longitude) - 100).argmin()
    speeds = np.hypot(*state.newest[:, :, row, column].T)
    (analysis,) = [line for line in figures[1].axes[0].lines if line.get_label() == "analysis"]
    np.testing.assert_allclose(np.asarray(analysis.get_ydata()), np.sort(speeds), rtol=1e-6)
    lines = [np.asarray(line.get_ydata()) for line in figures[1].axes[0].lines[:MEMBERS]]
    np.testing.assert_allclose([line[0] for line in lines], speeds[[0, 1, 0, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose([line[4] for line in lines], np.hypot(*store.fields(3)[:, :, row, column].T), rtol=1e-6)


def test_without_an_initial_state_the_plume_starts_at_the_first_lead_time(
    store: EnsembleStore, tmp_path: Path, figures: list[Figure]
) -> None:
    _plot(tmp_path)
    assert "analysis" not in [line.get_label() for line in figures[1].axes[0].lines]


def test_units_apply_to_maps_and_plume_and_the_box_to_maps(
    store: EnsembleStore, tmp_path: Path, figures: list[Figure]
) -> None:
    _plot(tmp_path, units="kn", bbox="170,-40,-170,40")
    maps, plume = figures
    assert maps.axes[0].get_xlim() == (170, 190)
    assert any(axes.get_ylabel() == "ensemble mean (kn)" for axes in maps.axes)
    assert plume.axes[0].get_ylabel() == "10 m wind speed (kn)"


def test_the_default_lead_times_are_those_of_1_5_and_10_days_that_are_complete(
    store: EnsembleStore, figures: list[Figure]
) -> None:
    plot.plot_maps(store, ())
    assert [axes.get_title() for axes in figures[0].axes if axes.get_title()] == ["+24h   2018-09-16 00 UTC"]


def test_analyses_are_drawn_above_the_maps_of_the_lead_times_that_they_have(
    store: EnsembleStore, tmp_path: Path, figures: list[Figure]
) -> None:
    """They are those of the lead times' own valid times, on the grid and in the units of the forecast."""
    analyses = _save_analyses(store, tmp_path / "analyses.nc", lead_indices=(1, 2))
    _plot(tmp_path, units="kn", truth=(str(tmp_path / "analyses.nc"),), lead_times=("12h", "18h"))
    globes = [axes for axes in figures[0].axes if axes.name == "mollweide"]
    assert [axes.get_title() for axes in globes[:2]] == ["+12h   2018-09-15 12 UTC", "+18h   2018-09-15 18 UTC"]
    assert any(axes.get_ylabel() == "truth (kn)" for axes in figures[0].axes)
    assert len(globes) == 4 * 2
    shape = tuple(size + 2 for size in store.layout.grid.shape)
    for axes, field in zip(globes, analyses, strict=False):
        (mesh,) = axes.collections
        drawn = np.sort(np.asarray(mesh.get_array()).reshape(shape)[1:-1, 1:-1].ravel())  # without poles and seam
        np.testing.assert_allclose(drawn, np.sort(np.hypot(*field).ravel()) * 3600 / 1852, rtol=1e-5)


def test_with_analyses_the_default_lead_time_is_the_last_one_that_they_have(
    store: EnsembleStore, tmp_path: Path, figures: list[Figure]
) -> None:
    _save_analyses(store, tmp_path / "analyses.nc", lead_indices=(0, 1))
    _plot(tmp_path, truth=(str(tmp_path / "analyses.nc"),))
    assert [axes.get_title() for axes in figures[0].axes if axes.get_title()] == ["+12h   2018-09-15 12 UTC"]


def test_a_lead_time_without_an_analysis_is_refused(store: EnsembleStore, tmp_path: Path) -> None:
    _save_analyses(store, tmp_path / "analyses.nc", lead_indices=(1,))
    with pytest.raises(VerificationError, match=r"must have all lead times that are drawn\. It lacks 6h, 24h"):
        _plot(tmp_path, truth=(str(tmp_path / "analyses.nc"),), lead_times=("6h", "12h", "24h"))
    assert not (tmp_path / "maps.png").exists()


def test_the_command_takes_several_files_of_analyses(store: EnsembleStore, tmp_path: Path) -> None:
    for index in range(2):
        _save_analyses(store, tmp_path / f"{index}.nc", lead_indices=(index,))
    command = ["plot", str(tmp_path), "--lead-time", "6h", "--lead-time", "12h"]
    files = [str(tmp_path / "0.nc"), str(tmp_path / "1.nc")]
    result = CliRunner().invoke(app, [*command, "--truth", *files], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    wrong = CliRunner().invoke(app, [*command, *files])
    assert wrong.exit_code == 2
    assert "Only --truth takes several paths" in wrong.output


def test_a_lead_time_that_is_not_complete_is_refused(store: EnsembleStore) -> None:
    for lead_time in ("30h", "5h"):
        with pytest.raises(ConfigurationError, match="multiple of 6h up to 24h, the last complete one"):
            plot.plot_maps(store, (lead_time,), "ms", Region(0, 0, 10, 10))


def test_a_lead_time_without_a_finite_member_is_refused(spec: ModelSpec, state: InitialState, tmp_path: Path) -> None:
    layout = Layout(state.init_time, 1, np.timedelta64(6, "h"), (0,), 1, ("u10", "v10"), spec.grid.grid)
    store = EnsembleStore.create(storage_path(tmp_path / "ensemble.zarr"), layout, {})
    store.commit(0, 0, np.full((1, 2, *spec.grid.grid.shape), np.nan, np.float32))
    with pytest.raises(StoreError, match="no finite member at 6h"):
        plot.plot_maps(store, ())
