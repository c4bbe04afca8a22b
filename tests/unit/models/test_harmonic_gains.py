"""Gains by variable and total wavenumber, on Gaussian and regular grids."""

import numpy as np
import pytest
import torch

from diagnostics.scores.random_fields import isotropic_fields
from diagnostics.scores.spectra import spherical_spectrum
from models import harmonic_gains
from models.harmonic_gains import HarmonicGains
from tests.unit.models.grids import GRIDS
from weather.grids import Grid

CPU = torch.device("cpu")


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_each_harmonic_is_multiplied_by_the_gain_of_its_variable_and_wavenumber(grid: Grid) -> None:
    draw = np.random.default_rng(0)
    number = grid.highest_wavenumber + 1
    gains = draw.uniform(0.5, 2, (2, number))
    fields = isotropic_fields(draw.normal(size=(3, 2, *grid.shape)), np.ones(number), grid)
    changed = HarmonicGains(gains.tolist(), grid, CPU)(torch.from_numpy(fields).float())
    got = spherical_spectrum(changed.numpy().astype(np.float64), grid) / spherical_spectrum(fields, grid)
    np.testing.assert_allclose(got, np.broadcast_to(gains**2, got.shape), rtol=1e-4)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_gains_of_one_leave_every_bit_and_what_the_grid_does_not_resolve_stays(grid: Grid) -> None:
    draw = torch.Generator().manual_seed(0)
    fields = torch.randn(2, 1, *grid.shape, generator=draw)
    number = grid.highest_wavenumber + 1
    assert torch.equal(HarmonicGains([[1.0] * number], grid, CPU)(fields), fields)
    rows = torch.tensor([(-1.0) ** column for column in range(grid.shape[1])]).expand(1, 1, *grid.shape)
    torch.testing.assert_close(HarmonicGains([[0.5] * number], grid, CPU)(rows), rows)


def test_a_share_of_the_change_is_made() -> None:
    grid = GRIDS[0]
    number = grid.highest_wavenumber + 1
    fields = torch.randn(2, 1, *grid.shape, generator=torch.Generator().manual_seed(0))
    half = HarmonicGains([[1.5] * number], grid, CPU)(fields, 0.5)
    torch.testing.assert_close(half, HarmonicGains([[1.25] * number], grid, CPU)(fields))


def test_products_of_another_type_change_no_more_than_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = GRIDS[0]
    number = grid.highest_wavenumber + 1
    fields = torch.randn(2, 1, *grid.shape, generator=torch.Generator().manual_seed(0))
    single = HarmonicGains([[0.6] * number], grid, CPU)(fields)
    monkeypatch.setitem(harmonic_gains._PRODUCTS, "cpu", torch.float64)
    double = HarmonicGains([[0.6] * number], grid, CPU)(fields)
    assert not torch.equal(double, single)
    torch.testing.assert_close(double, single)


def test_a_member_that_is_not_finite_leaves_the_others() -> None:
    grid = GRIDS[0]
    gains = HarmonicGains([[0.7] * (grid.highest_wavenumber + 1)], grid, CPU)
    fields = torch.randn(3, 1, *grid.shape, generator=torch.Generator().manual_seed(0))
    broken = fields.clone()
    broken[1, 0, 3, 4] = torch.nan
    assert torch.equal(gains(broken)[[0, 2]], gains(fields)[[0, 2]])
    assert gains(broken)[1].isnan().all()
