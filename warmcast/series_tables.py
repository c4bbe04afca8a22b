"""Time series at places, and diagnostics of a forecast, as tables of plain text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from warmcast.tables import Column, format_table

_MAX_MEMBERS = 8
"""Most members of a table: further ones are in files and in JSON."""


def series_lines(answer: Mapping[str, Any], width: int | None = None) -> Iterator[str]:
    """Yield a table for each place, or the whole area, and each parameter: a row for each valid time."""
    members = answer["members"]
    for title, of_place in _titled_values(answer):
        for name, values in of_place.items():
            unit = answer["units"][name]
            yield f"{name} ({unit}) {title}"
            columns = _statistics(values) if isinstance(values, Mapping) else _members(values, members)
            yield from format_table([*_time_columns(answer), *columns, _finite_column(answer)], width)
            if not isinstance(values, Mapping) and len(members) > _MAX_MEMBERS:
                yield f"{len(members) - _MAX_MEMBERS} further members: --output series.csv, or --json."
            yield ""


def _titled_values(answer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what the values of each place, or of the whole area, are of, and the values by parameter."""
    if answer.get("reduce", "none") != "none":
        yield f"{answer['reduce']} of {answer['num_points']} grid points", answer["values"]
        return
    for place in answer["positions"]:
        yield f"at {place['longitude']:g}, {place['latitude']:g} (longitude, latitude)", place["values"]


def diagnostics_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a table of the spread of each variable and the lost members, by lead time."""
    lead_times = document["lead_times"]
    if not lead_times:
        yield "No lead time is complete yet."
        return
    names = next(iter(lead_times.values()))["variables"]
    lost = [", ".join(map(str, entry["nonfinite_members"])) for entry in lead_times.values()]
    spreads = {
        name: [_format(entry["variables"][name].get("spread")) for entry in lead_times.values()] for name in names
    }
    yield from format_table(
        [
            Column("lead", [f"{hours}h" for hours in lead_times], is_number=True),
            *(Column(f"spread of {name}", cells, is_number=True) for name, cells in spreads.items()),
            Column("lost members", lost),
        ]
    )


def _time_columns(answer: Mapping[str, Any]) -> list[Column]:
    return [
        Column("valid (UTC)", [time[:16] for time in answer["valid_time"]]),
        Column("lead", [f"{hours}h" for hours in answer["lead_hours"]], is_number=True),
    ]


def _statistics(values: Mapping[str, Sequence[float | None]]) -> list[Column]:
    columns = []
    for name, series in values.items():
        cells = [_percent(value) if name.startswith("p") else _format(value) for value in series]
        columns.append(Column(f"P({name[1:]})" if name.startswith("p") else name, cells, is_number=True))
    return columns


def _members(values: Sequence[Sequence[float | None]], members: Sequence[int]) -> list[Column]:
    chosen = members[:_MAX_MEMBERS]
    return [
        Column(f"#{member}", [_format(row[index]) for row in values], is_number=True)
        for index, member in enumerate(chosen)
    ]


def _finite_column(answer: Mapping[str, Any]) -> Column:
    """Return the numbers of members behind each row if some are lost, else an empty column, which is not printed."""
    finite, number = answer["num_finite"], len(answer["members"])
    cells = [str(count) for count in finite] if any(count < number for count in finite) else [""] * len(finite)
    return Column("members", cells, is_number=True)


def _format(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
