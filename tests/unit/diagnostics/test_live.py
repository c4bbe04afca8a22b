import numpy as np
import pytest
import torch

from diagnostics.live import diagnose_lead_time, mean_spectra
from diagnostics.scores.moments import spread
from weather.grids import Grid

GRID = Grid(tuple(np.linspace(90, -90, 33)), tuple(np.arange(64) * 360 / 64))


def _wave(wavenumber: int, amplitude: float) -> np.ndarray:
    """Return a field with power at one total wavenumber: the sectoral harmonic."""
    latitude, longitude = np.radians(GRID.latitude)[:, None], np.radians(GRID.longitude)
    return amplitude * np.cos(latitude) ** wavenumber * np.cos(wavenumber * longitude)


def test_spread_and_power_by_scale_equal_those_of_the_members() -> None:
    initial = np.stack([_wave(3, 1.0) + _wave(14, 1.0)])[None].astype(np.float32)
    members = np.stack([_wave(3, a) + _wave(14, a / 10) for a in (9.0, 10.0, 11.0)])[:, None].astype(np.float32)
    diagnostics = diagnose_lead_time([members[:1], members[1:]], mean_spectra(initial, GRID), [0, 1, 2], ["u10"], GRID)
    u10 = diagnostics["variables"]["u10"]
    assert diagnostics["nonfinite_members"] == []
    assert u10["spread"] == pytest.approx(spread(members[:, 0], GRID.area_weights))
    mean_square = (81 + 100 + 121) / 3
    assert u10["log_ratio"]["planetary"] == pytest.approx(np.log10(mean_square), abs=1e-5)
    assert u10["log_ratio"]["synoptic"] == pytest.approx(np.log10(mean_square / 100), abs=1e-5)
    assert "meso" not in u10["log_ratio"], "the grid has no such scales"
    assert int(np.argmax(u10["power"])) == 3


def test_lost_members_are_listed_and_left_out() -> None:
    rng = np.random.default_rng(0)
    initial = rng.normal(size=(1, 1, *GRID.shape)).astype(np.float32)
    members = rng.normal(size=(4, 1, *GRID.shape)).astype(np.float32)
    members[2, 0, 5, 5] = np.nan
    diagnostics = diagnose_lead_time(
        [members[:2], members[2:]], mean_spectra(initial, GRID), [8, 9, 10, 11], ["u10"], GRID
    )
    assert diagnostics["nonfinite_members"] == [10]
    assert diagnostics["variables"]["u10"]["spread"] == pytest.approx(spread(members[[0, 1, 3], 0], GRID.area_weights))


def test_fewer_than_two_members_have_no_spread() -> None:
    initial = np.random.default_rng(0).normal(size=(1, 1, *GRID.shape)).astype(np.float32)
    alone = diagnose_lead_time([initial], mean_spectra(initial, GRID), [0], ["u10"], GRID)
    assert alone["variables"]["u10"]["spread"] is None
    assert alone["variables"]["u10"]["log_ratio"]["planetary"] == pytest.approx(0)
    lost = diagnose_lead_time([np.full_like(initial, np.nan)], mean_spectra(initial, GRID), [0], ["u10"], GRID)
    assert lost["variables"]["u10"] == {"spread": None, "power": None, "log_ratio": {}}


def test_tensors_have_the_diagnostics_of_arrays() -> None:
    fields = np.random.default_rng(0).normal(0, 5, (19, 2, *GRID.shape)).astype(np.float32)
    fields[17, 1, 3, 3] = np.inf
    start = mean_spectra(fields[:1], GRID)
    groups = [fields[:10], fields[10:]]
    members, names = list(range(19)), ["u10", "v10"]
    expected = diagnose_lead_time(groups, start, members, names, GRID)
    found = diagnose_lead_time([torch.from_numpy(group) for group in groups], start, members, names, GRID)
    assert found["nonfinite_members"] == expected["nonfinite_members"] == [17]
    for name in names:
        for figure in ("spread", "power", "log_ratio"):
            assert found["variables"][name][figure] == pytest.approx(expected["variables"][name][figure], rel=1e-4)
