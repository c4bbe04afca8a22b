"""Compare the climate of years with that of reference years."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.nature.climate import Statistic, measure_year
from weather.errors import TrainingDataError

ALLOWED_DEVIATION = 3.0
"""Largest distance from the mean of the reference, in standard deviations between its years."""
_FEWEST_REFERENCE = 3


def compare_nature_runs(*, compared: Sequence[Path], reference: Sequence[Path]) -> dict[str, Any]:
    """Return the statistics of years (files, or folders of them) beside those of reference years.

    A statistic is alike if its mean over the years compared is within `ALLOWED_DEVIATION` standard deviations between
    the reference years of their mean. Files are read piece by piece. Raises `TrainingDataError` if one cannot be used.
    """
    files, reference_files = _list_files(compared), _list_files(reference)
    if len(reference_files) < _FEWEST_REFERENCE:
        raise TrainingDataError(
            f"`--reference` must hold {_FEWEST_REFERENCE} years or more. Got: {len(reference_files)}."
        )
    years, reference_years = ([measure_year(file) for file in group] for group in (files, reference_files))
    if any(year == reference_years[0] for year in reference_years[1:]):
        raise TrainingDataError("`--reference` must hold different years. Got: some that are the same.")
    rows = [_compare(statistic, years, reference_years) for statistic in reference_years[0]]
    return {
        "is_alike": all(row["is_alike"] for row in rows),
        "compared": [str(file) for file in files],
        "reference": [str(file) for file in reference_files],
        "statistics": rows,
    }


def _list_files(paths: Sequence[Path]) -> list[Path]:
    files = [file for path in paths for file in (sorted(path.glob("*.nc")) if path.is_dir() else [path])]
    if not files:
        raise TrainingDataError(f"A folder must hold files `*.nc`. Got none in: {', '.join(map(str, paths))}.")
    return files


def _compare(
    statistic: Statistic, years: Sequence[dict[Statistic, float]], reference: Sequence[dict[Statistic, float]]
) -> dict[str, Any]:
    values = np.array([year[statistic] for year in years])
    expected = np.array([year[statistic] for year in reference])
    spread = expected.std(ddof=1)
    deviations = (values - expected.mean()) / spread
    return {
        "statistic": statistic[0],
        "variable": statistic[1],
        "where": statistic[2],
        "reference": float(expected.mean()),
        "spread": float(spread),
        "compared": float(values.mean()),
        "deviation": float(deviations.mean()),
        "years_outside": int((np.abs(deviations) > ALLOWED_DEVIATION).sum()),
        "is_alike": bool(abs(deviations.mean()) <= ALLOWED_DEVIATION),
    }
