"""Maps of an ensemble: one member, the mean and the spread at several lead times, on the globe or in a region."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnostics.figures.map_axes import draw_globe, draw_region
from diagnostics.figures.quantity import Quantity
from diagnostics.figures.style import STYLE, format_members, format_time, format_units
from diagnostics.scores.moments import ensemble_mean, ensemble_std
from weather.grids import Grid
from weather.region import Region
from weather.times import format_lead_time

Field = NDArray[np.float32]

_PERCENTILES = (0.5, 99.5)
"""Percentiles of the values that bound a colour scale, so that one extreme value does not darken the map."""


@dataclass(frozen=True)
class _Row:
    """One row of maps, a field per lead time; each map of the spread, which grows with lead time, has its own scale."""

    name: str
    fields: Sequence[Field]
    is_spread: bool = False


def draw_maps(
    quantity: Quantity,
    grid: Grid,
    init_time: np.datetime64,
    fields: Sequence[tuple[np.timedelta64, Field]],
    truth: Sequence[Field] = (),
    region: Region | None = None,
) -> Figure:
    """Draw maps of a member, the ensemble mean and the spread (rows) at several lead times (columns).

    Each of `fields` is (member, latitude, longitude) at a lead time; for a single member only the member is drawn.
    `truth`, one field per lead time, is drawn in a row above if given. The maps show `region`, or the globe. Members
    that are not finite are left out, and the title says how many remain. Raises `ValueError` if none is finite.
    """
    total = fields[0][1].shape[0]
    finite = [members[np.isfinite(members).all(axis=(1, 2))] for _, members in fields]
    count = min(len(members) for members in finite)
    if not count:
        raise ValueError("No member is finite.")
    member_row = _Row("one member", [members[0] for members in finite])
    rows = [_Row("truth", truth), member_row] if truth else [member_row]
    if count > 1:
        rows.append(_Row("ensemble mean", [ensemble_mean(members) for members in finite]))
        rows.append(_Row("spread", [ensemble_std(members) for members in finite], is_spread=True))
    with matplotlib.style.context(STYLE):
        figure, axes = _create_axes(len(rows), len(fields), region)
        limits = _limits(_visible([*truth, *member_row.fields], grid, region), quantity)
        for row, row_axes in zip(rows, axes, strict=True):
            _draw_row(figure, row_axes, row, quantity, grid, region, limits)
        for column, (lead_time, _) in enumerate(fields):
            axes[0, column].set_title(f"+{format_lead_time(lead_time)}   {format_time(init_time + lead_time)}")
        separator = "\n" if len(fields) == 1 else ", "
        members = format_members(count, total)
        figure.suptitle(f"{quantity.label}{separator}{members} from {format_time(init_time)}", fontsize=11)
    return figure


def _create_axes(num_rows: int, num_columns: int, region: Region | None) -> tuple[Figure, NDArray[Any]]:
    """Return a figure that fits its maps, and their axes (row, column)."""
    width = 3.4
    height = 1.7 if region is None else min(max(width * 0.85 * region.height_over_width, 1.2), 5.0) + 0.3
    size = (width * num_columns + 0.6, height * num_rows + 1.0)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    projection = {"projection": "mollweide"} if region is None else {}
    return figure, figure.subplots(num_rows, num_columns, subplot_kw=projection, squeeze=False)


def _draw_row(
    figure: Figure,
    axes: NDArray[Any],
    row: _Row,
    quantity: Quantity,
    grid: Grid,
    region: Region | None,
    limits: tuple[float, float],
) -> None:
    """Draw a row of maps: the spread with a colour bar below each map, the others with a common one on the right."""
    label = f"{row.name} ({format_units(quantity.units)})"
    if not row.is_spread:
        meshes = [
            _draw_map(ax, grid, field, region, "viridis", limits) for ax, field in zip(axes, row.fields, strict=True)
        ]
        extend = _extension(_visible(row.fields, grid, region), limits)
        _add_colour_bar(figure, meshes[-1], list(axes), label, extend, "right")
        return
    for ax, field in zip(axes, row.fields, strict=True):
        values = _visible([field], grid, region)
        limits = (0.0, _limits(values, quantity)[1])
        mesh = _draw_map(ax, grid, field, region, "magma", limits)
        own = ", scale of this lead time" if len(row.fields) > 1 else ""
        _add_colour_bar(figure, mesh, ax, f"{label}{own}", _extension(values, limits), "bottom")


def _draw_map(
    axes: Axes, grid: Grid, field: Field, region: Region | None, colours: str, limits: tuple[float, float]
) -> QuadMesh:
    if region is None:
        return draw_globe(axes, grid, field, colours, limits)
    return draw_region(axes, region, grid, field, colours, limits)


def _add_colour_bar(
    figure: Figure,
    mesh: QuadMesh,
    axes: Axes | list[Axes],
    label: str,
    extend: Literal["neither", "min", "max", "both"],
    location: Literal["right", "bottom"],
) -> None:
    bar = figure.colorbar(
        mesh, ax=axes, shrink=0.8, aspect=18, pad=0.02, extend=extend, location=location, panchor=False
    )
    bar.set_label(label)
    bar.outline.set_visible(False)


def _visible(fields: Sequence[Field], grid: Grid, region: Region | None) -> Field:
    """Return the values of all fields on the map's grid points, (field, latitude, longitude)."""
    stacked = np.stack(fields)
    return stacked if region is None else region.crop(np.asarray(grid.latitude), np.asarray(grid.longitude), stacked)[2]


def _limits(values: Field, quantity: Quantity) -> tuple[float, float]:
    """Return the bounds of a colour scale; a quantity that cannot be negative starts at 0."""
    low, high = (float(bound) for bound in np.percentile(values, _PERCENTILES))
    low = 0.0 if quantity.is_magnitude else low
    return low, high if high > low else low + 1.0


def _extension(values: Field, limits: tuple[float, float]) -> Literal["neither", "min", "max", "both"]:
    """Return at which ends of a colour scale values saturate, where its colour bar gets an arrow."""
    below, above = bool(values.min() < limits[0]), bool(values.max() > limits[1])
    if below:
        return "both" if above else "min"
    return "max" if above else "neither"
