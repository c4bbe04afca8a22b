"""Grids of the tests of operators on harmonics: a Gaussian one, and one with poles."""

import numpy as np

from weather.grids import Grid, gaussian_grid

GRIDS = [gaussian_grid("t21"), Grid.from_coordinates(np.linspace(-90, 90, 31), np.arange(60) * 6.0)]
