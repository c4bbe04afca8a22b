"""Spherical harmonics of fields as a differentiable transform."""

import numpy as np
import torch
from torch import Tensor, nn

from weather.grids import Grid
from weather.harmonics import analysis_matrices


class SphericalTransform(nn.Module):
    """The real coefficients of a field in spherical harmonics of unit mean square, on one grid.

    Parts are real and imaginary; coefficients whose order m exceeds the degree ℓ are 0. A field is treated as a scalar,
    also if it is a wind component. The sum of the squares over all coefficients, those of m > 0 twice, is the mean
    square of the field. `diagnostics.scores.spectra.spherical_spectrum` is the power of the same coefficients.
    """

    projection: Tensor
    counts: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        projection = torch.from_numpy(np.asarray(analysis_matrices(grid), np.float32))
        self.register_buffer("projection", projection, persistent=False)
        self.register_buffer("counts", 2.0 * torch.arange(projection.shape[2]) + 1, persistent=False)

    @property
    def highest(self) -> int:
        """The highest degree ℓ."""
        return self.projection.shape[2] - 1

    def forward(self, fields: Tensor) -> Tensor:
        """Return the coefficients of fields (…, latitude, longitude), of shape (…, part, order, degree)."""
        num_m = self.projection.shape[0]
        waves = torch.fft.rfft(fields)[..., :num_m] / fields.shape[-1]
        return torch.einsum("...ymp,myl->...pml", torch.view_as_real(waves), self.projection)

    def mean_by_degree(self, values: Tensor) -> Tensor:
        """Return the mean of values of coefficients over the 2ℓ + 1 of each degree ℓ, of shape (…, degree)."""
        return values.sum((-3, -2)) / self.counts
