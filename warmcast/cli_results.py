"""The commands on what a forecast of a service has: its values, `warmcast open`, `receipt`, `diagnostics`, `delete`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, print_json, print_line
from warmcast.options import ForecastId, Json, SummaryFile, Units, Url, ValidTimes
from warmcast.score_tables import print_scores
from warmcast.series_tables import diagnostics_lines, series_lines
from warmcast.tables import format_document, output_width

Places = Annotated[
    list[str],
    typer.Option("--at", metavar="LON,LAT", help="Place in degrees east and north; may be repeated, up to 20 times."),
]
Names = Annotated[
    str,
    typer.Option("--name", "--parameter-name", help="Parameters such as u10,wind_speed_10m; all by default."),
]
WithMembers = Annotated[
    bool, typer.Option("--members/--statistics", help="All members, or statistics over them (the default).")
]
Quantiles = Annotated[str, typer.Option(help="Probabilities of the quantiles.")]
Exceedance = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EVENT",
        help="Event such as 'wind_speed_10m>17.2', in the units of --units, whose probability is printed; "
        "may be repeated.",
    ),
]
Interpolate = Annotated[
    Literal["bilinear", "nearest"], typer.Option(help="Interpolate between four grid points, or take the nearest.")
]
SeriesFile = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write: .csv, .json or .covjson (CoverageJSON).")
]

AreaBox = Annotated[
    str | None,
    typer.Option("--bbox", metavar="WEST,SOUTH,EAST,NORTH", help="Box in degrees, such as 5,45,15,55."),
]
Polygon = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Polygon in degrees, such as 'POLYGON((5 45, 15 45, 15 55, 5 45))'."),
]
Reduce = Annotated[
    Literal["none", "mean", "max", "min"],
    typer.Option(help="Mean by area, maximum or minimum of each member over the area; or all its grid points."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (position, area, receipt, diagnostics, delete):
        app.command()(command)
    app.command("open")(open_)


def position(
    forecast_id: ForecastId,
    at: Places,
    names: Names = "",
    times: ValidTimes = "../..",
    members: WithMembers = False,
    quantiles: Quantiles = "0.1,0.5,0.9",
    exceedance: Exceedance = None,
    interpolation: Interpolate = "bilinear",
    units: Units = "ms",
    output: SeriesFile = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print time series of a forecast at places, also while it runs: the analysis, then all complete lead times."""
    options = _series_options(names, times, quantiles, exceedance, units, members=members)
    options["interpolation"] = interpolation
    places = [_place(text) for text in at]
    with exit_codes("No file was written."):
        result = run("position", url=url, forecast_id=forecast_id, places=places, output=output, options=options)
    _print_series(result, json=json)


def area(
    forecast_id: ForecastId,
    bbox: AreaBox = None,
    polygon: Polygon = None,
    reduce: Reduce = "mean",
    names: Names = "",
    times: ValidTimes = "../..",
    members: WithMembers = False,
    quantiles: Quantiles = "0.1,0.5,0.9",
    exceedance: Exceedance = None,
    units: Units = "ms",
    output: SeriesFile = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print time series of a forecast in a box or polygon, also while it runs: of its mean, or of each grid point."""
    if (bbox is None) == (polygon is None):
        raise typer.BadParameter("Either --bbox or --polygon is needed, and not both.")
    options = _series_options(names, times, quantiles, exceedance, units, members=members)
    options["reduce"] = reduce
    place = polygon if bbox is None else _box(bbox)
    with exit_codes("No file was written."):
        result = run("area", url=url, forecast_id=forecast_id, area=place, output=output, options=options)
    _print_series(result, json=json)


def _series_options(
    names: str, times: str, quantiles: str, exceedance: list[str] | None, units: str, *, members: bool
) -> dict[str, Any]:
    if members and exceedance:
        raise typer.BadParameter("Probabilities of events are statistics: --exceedance cannot be used with --members.")
    options: dict[str, Any] = {"parameters": _split(names), "times": times, "statistics": not members}
    return options | {
        "quantiles": _numbers("--quantiles", quantiles),
        "exceedance": exceedance or (),
        "units": units,
    }


def _print_series(result: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(result)
    elif "path" in result:
        typer.echo(result["path"])
    else:
        _print_lines(series_lines(result, output_width()))
        complete, total = result["complete_lead_times"], result["num_lead_times"]
        if complete < total:
            print_line(f"{complete} of {total} lead times are complete; repeat the command for more.")


def open_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="ID|ZIP", help="Id of a forecast, address of a store or its zip, or a file such as mine.zarr.zip."
        ),
    ],
    summary: SummaryFile = False,
    first: Annotated[
        int | None, typer.Option(min=1, help="Only so many complete lead times, which do not change while it runs.")
    ] = None,
    only_url: Annotated[
        bool, typer.Option("--only-url", help="Print only the URL of the store, without its contents.")
    ] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Open the ensemble of a forecast, or a zip that was downloaded, print what it has, and how a program opens it."""
    with exit_codes():
        options = {"source": source, "summary": summary, "first": first}
        result = run("open", url=url, **options, with_contents=not only_url)
    if json:
        print_json(result)
    elif only_url:
        typer.echo(result["url"] if "url" in result else result["path"])
    else:
        typer.echo(result["contents"])
        typer.echo(f"\nOpen it:  {result['python']}")


def receipt(forecast_id: ForecastId, url: Url = None, json: Json = False) -> None:
    """Print the receipt of a successful forecast: request, seed, checkpoint, versions, device and durations."""
    with exit_codes():
        document = run("receipt", url=url, forecast_id=forecast_id)
    if json:
        print_json(document)
    else:
        _print_lines(format_document(document))


def diagnostics(forecast_id: ForecastId, url: Url = None, json: Json = False) -> None:
    """Print spread and lost members of each complete lead time, and the scores of all verifications."""
    with exit_codes():
        document = run("diagnostics", url=url, forecast_id=forecast_id)
    if json:
        print_json(document)
    else:
        _print_lines(diagnostics_lines(document))
        for verification in document["verifications"]:
            typer.echo(f"\nScores against {verification['reference']}, {verification['created'][:16]} UTC:")
            print_scores(verification["scores"])


def delete(
    forecast_id: ForecastId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without a question.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Delete the data of a forecast, or cancel it if it has not ended; its record is kept.

    On a terminal the command asks before it deletes; elsewhere it needs --yes.
    """
    if not yes and not _is_terminal():
        raise typer.BadParameter("Without a terminal, --yes is needed to delete the data of a forecast.")
    if not yes:
        typer.confirm(f"Delete the data of {forecast_id}? This cannot be undone.", abort=True, err=True)
    with exit_codes():
        info = run("delete", url=url, forecast_id=forecast_id)
    if json:
        print_json(info)
    else:
        typer.echo(f"{info['id']}  {info['status']}  data: {info['data']}")


def _place(text: str) -> tuple[float, float]:
    """Return latitude and longitude of a text `LON,LAT`; raises `typer.BadParameter` for other text."""
    values = _numbers("--at", text)
    if len(values) != 2:
        raise typer.BadParameter(f"`--at` must be longitude and latitude in degrees, such as -0.1,51.5. Got: {text!r}.")
    return values[1], values[0]


def _box(text: str) -> tuple[float, ...]:
    """Return west, south, east and north of a text; raises `typer.BadParameter` for other text."""
    values = _numbers("--bbox", text)
    if len(values) != 4:
        raise typer.BadParameter(f"`--bbox` must be west,south,east,north in degrees. Got: {text!r}.")
    return values


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _split(text))
    except ValueError as error:
        raise typer.BadParameter(f"`{option}` must be numbers with commas between them. Got: {text!r}.") from error


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _print_lines(lines: Iterator[str] | Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)


def _is_terminal() -> bool:
    return sys.stdin.isatty()
