from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.nature.files import Surface, write_year, year_path
from training.nature.states import StartState


@pytest.fixture(scope="session")
def surface() -> Surface:
    """A planet of 12 by 8 points, with latitudes from south to north."""
    draw = np.random.default_rng(0)
    orography, mask = draw.uniform(0, 1, (2, 12, 8)).astype(np.float32)
    return Surface(np.linspace(-82.5, 82.5, 12), np.arange(8) * 45.0, orography, mask)


@pytest.fixture(scope="session")
def write_years(surface: Surface) -> Callable[..., list[Path]]:
    """Return a function that writes years of 160 frames whose winds differ from year to year by chance only."""

    def write(folder: Path, years: range, *, factor: float = 1.0) -> list[Path]:
        folder.mkdir()
        start = StartState(0, years[0], len(years), is_tiny=False)
        for year in years:
            winds = np.random.default_rng(year).normal(300, 200, (2, 160, 12, 8)) * factor
            write_year(year_path(folder, year), start, year, winds.astype(np.int16), surface)
        return [year_path(folder, year) for year in years]

    return write
