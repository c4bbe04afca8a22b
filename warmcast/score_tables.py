"""Scores as tables on standard output: `warmcast verify` and `evaluate`."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_SCORES = {
    "CRPS": "crps_fair",
    "persistence": "persistence_mae",
    "climatology": "climatology_crps",
    "÷ pers.": "crps_of_persistence",
    "÷ clim.": "crps_of_climatology",
    "RMSE": "rmse",
    "spread": "spread",
    "ratio": "spread_skill",
    "rank 0": "rank_lowest",
    "rank M": "rank_highest",
    "Σ|1−η|": "spectrum_deviation",
    "of clim.": "climatology_deviation",
    "of years": "natural_deviation",
}

_DIFFERENCES = {
    "CRPS": "crps_fair",
    "energy": "energy_score",
    "energy in tiles": "energy_score_tiled",
    "variogram": "variogram_score",
}

Rows = Sequence[Mapping[str, Any]]


def print_scores(result: Mapping[str, Any]) -> None:
    """Print tables of scores by variable, of comparisons and residuals, and the stability, as far as there are any."""
    for name, rows in result["scores"].items():
        _print(_score_table(name, rows))
    if kind := result.get("settings", {}).get("climatology"):
        dates = "within 35 days of each date" if kind == "seasonal" else "of all dates, the same for each"
        _print(f"Climatology is {kind}: states of the training years {dates}.")
    for name, comparison in result.get("comparisons", {}).items():
        _print(_difference_table(name, comparison))
    if "residuals" in result:
        _print(_residual_table(result["residuals"]))
    if "stability" in result:
        _print(describe_stability(result["stability"]))


def describe_stability(stability: Mapping[str, Any]) -> str:
    """Return the result of a stability test as sentences."""
    starts, lost, days = len(stability["starts"]), stability["lost_hours"], stability["days"]
    rate, season = stability["growth"]["rate"], stability["growth"]["season_rate"]
    text = f"Stability: {starts - len(lost)} of {starts} forecasts are finite for {days:g} days."
    if lost:
        text += f" The first member was lost after {min(lost.values()) / 24:g} days."
    text += f" The mean grows by a factor of {'infinity' if rate is None else f'{rate:.4f}'} a time step"
    text += f", that of the climatology of its dates by one of {season:.4f}." if season else "."
    if "largest_distance" in stability:
        text += (
            f" Means and variances of latitude bands differ from the training years by at most "
            f"{stability['largest_distance']:.1f} standard deviations between years, {stability['far']} of them "
            "by more than 3"
        )
        natural = stability.get("natural_distances")
        text += f" (each of these years from the others: {min(natural):.1f} to {max(natural):.1f})." if natural else "."
        if truth := stability.get("truth"):
            text += (
                f" Those of the truth of the same days differ by at most {truth['largest_distance']:.1f}, "
                f"{truth['far']} of them by more than 3."
            )
    return text


def _score_table(name: str, rows: Rows) -> Table:
    """Return a table of the scores of one variable."""
    table = _table(name)
    columns = {title: key for title, key in _SCORES.items() if key in rows[0]}
    numbers = ("starts",) if len({row.get("starts") for row in rows}) > 1 else ()
    for title in ("lead", *numbers, *columns):
        table.add_column(title, justify="right")
        if title == "CRPS" and "intervals" in rows[0]:
            table.add_column("95 %", justify="right")
    for row in select_rows(rows):
        scores = _cells(row, columns.values(), with_intervals="intervals" in rows[0])
        table.add_row(f"{row['lead_hours']} h", *(str(row[key]) for key in numbers), *scores)
    return table


def _difference_table(name: str, comparison: Mapping[str, Any]) -> Table:
    """Return a table of relative differences of scores, in percent."""
    table = _table(f"Scores relative to {name}, in percent (95 %): negative is better")
    parts = {**comparison["scores"], **comparison["energy"]}
    columns = [
        (f"{title} {variable.removesuffix('_10m')}" if key == "crps_fair" else title, variable, key)
        for title, key in _DIFFERENCES.items()
        for variable, rows in parts.items()
        if key in rows[0]
    ]
    for title in ("lead", *(title for title, _, _ in columns)):
        table.add_column(title, justify="right")
    for index, first in enumerate(next(iter(parts.values()))):
        if _is_listed(index, first):
            cells = [_percent(parts[variable][index][key]) for _, variable, key in columns]
            table.add_row(f"{first['lead_hours']} h", *cells)
    return table


def _residual_table(residuals: Mapping[str, Any]) -> Table:
    """Return a table of the power of members' residuals, and of the correlation of residuals in time."""
    table = _table("Normalised residuals of one time step: members ÷ truth, and correlation of truth | members")
    first = next(iter(residuals.values()))
    lags = [f"{hours} h" for hours in first["lag_hours"]]
    for title in ("variable", *(f"ℓ {band}" for band in first["power"]), *lags):
        table.add_column(title, justify="right")
    for name, rows in residuals.items():
        pairs = zip(rows["correlation_truth"], rows["correlation_members"], strict=True)
        power = [f"{value:.3f}" for value in rows["power"].values()]
        table.add_row(name, *power, *(f"{truth:.2f} | {members:.2f}" for truth, members in pairs))
    return table


def select_rows(rows: Rows) -> list[Mapping[str, Any]]:
    """Return the rows of the first lead time and of whole days, or all of few."""
    return [row for index, row in enumerate(rows) if _is_listed(index, row)]


def _is_listed(index: int, row: Mapping[str, Any]) -> bool:
    return index == 0 or row["lead_hours"] % 24 == 0


def _table(title: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.title_justify = "left"
    return table


def _percent(difference: Mapping[str, Any]) -> str:
    """Return a relative difference, and its interval if there is one, in percent."""
    if difference["relative"] is None:
        return "–"
    text = f"{100 * difference['relative']:+.1f}"
    if "relative_interval" in difference:
        low, high = difference["relative_interval"]
        text += f" ({100 * low:+.1f}, {100 * high:+.1f})"
    return text


def _cells(row: Mapping[str, Any], keys: Iterable[str], *, with_intervals: bool) -> Iterator[str]:
    """Yield scores with three decimals; the CRPS is followed by its interval, or a dash if the row has none."""
    for key in keys:
        yield f"{row[key]:.3f}"
        if key == "crps_fair" and with_intervals:
            yield "-".join(f"{end:.3f}" for end in row["intervals"][key]) if "intervals" in row else "–"


def _print(content: Table | str) -> None:
    Console(width=None if sys.stdout.isatty() else 150).print(content, highlight=False)
