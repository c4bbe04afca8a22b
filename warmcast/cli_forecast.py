"""The commands for a forecast in a folder: `warmcast forecast`, `plot`, `export` and `verify`."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, folders, plural, print_json, print_warning, progress_bar
from warmcast.options import (
    DEFAULT_CHECKPOINT,
    Box,
    Checkpoint,
    Checkpoints,
    Device,
    InitTime,
    Json,
    LeadTime,
    MemberList,
    Nfe,
    OutputFolder,
    Page,
    ParameterNames,
    Seed,
    Solver,
    SummaryFile,
    Threads,
    Units,
    Url,
    ValidTimes,
    Warmth,
)
from warmcast.score_tables import print_scores

_TO_RESUME = "Complete lead times are kept. To continue, repeat the command with --resume."

_FORECAST_ID = re.compile("fc_[0-9a-f]+")

States = Annotated[
    list[str] | None,
    typer.Option(help="GRIB, NetCDF or Zarr (paths or URLs, one after another) with the newest frames; or `sample`."),
]
FromDataset = Annotated[
    str | None,
    typer.Option("--dataset", help="Data set, bundled or enabled by WARMCAST_DATASETS, instead of --initial-state."),
]
Members = Annotated[int, typer.Option(min=1, max=1000, help="Number of members.")]
OnlyMembers = Annotated[
    list[int] | None, typer.Option("--member", min=0, help="Compute only the member of this number; may be repeated.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Number of members computed together; by default at most 8.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted forecast.")]
WithSummary = Annotated[bool, typer.Option(help="Write statistics over the members to OUTPUT/summary.zarr.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(context_settings={"allow_extra_args": True})(forecast)
    app.command(context_settings={"allow_extra_args": True})(plot)
    app.command()(export)
    app.command(context_settings={"allow_extra_args": True})(verify)


def forecast(
    context: typer.Context,
    output: OutputFolder,
    initial_state: States = None,
    dataset: FromDataset = None,
    init_time: InitTime = None,
    members: Members = 8,
    lead_time: LeadTime = "120h",
    nfe: Nfe = None,
    solver: Solver = None,
    warmth: Warmth = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    member: OnlyMembers = None,
    checkpoint: Checkpoint = DEFAULT_CHECKPOINT,
    checkpoints: Checkpoints = "",
    device: Device = "auto",
    threads: Threads = None,
    resume: Resume = False,
    summary: WithSummary = True,
    json: Json = False,
) -> None:
    """Compute an ensemble forecast on this machine.

    Writes OUTPUT/ensemble.zarr and OUTPUT/summary.zarr; both can be read while the forecast runs.
    """
    options: dict[str, Any] = {"initial_state": [*(initial_state or ()), *context.args], "init_time": init_time}
    options |= {"dataset": dataset}
    options |= {"num_members": members, "only_members": tuple(member or ()), "lead_time": lead_time, "seed": seed}
    options |= {"nfe": nfe, "solver": solver, "warmth": warmth, "batch_size": batch_size}
    options |= {"checkpoint": checkpoint, "checkpoint_folders": folders(checkpoints)}
    with exit_codes(_TO_RESUME), progress_bar("Lead times") as report:
        options |= {"device": device, "threads": threads, "resume": resume}
        options |= {"report_progress": report, "report_warning": print_warning}
        receipt = run("forecast", output=output, summary=summary, **options)
    if json:
        print_json(receipt)
    else:
        _print_forecast(receipt)


def _print_forecast(receipt: dict[str, Any]) -> None:
    """Print a paragraph about a forecast: its initial time, spread and lost members, and how to open its ensemble."""
    members = plural(receipt["members"], "member")
    work = f"{receipt['network_evaluations']:,} network evaluations in {receipt['wall_seconds']:.0f} s"
    typer.echo(f"Forecast from {receipt['init_time']} UTC, {members}, {work}.")
    for source in receipt["sources"]:
        if source["notes"]:
            typer.echo(f"Note on {source['file']}, {source['valid_time']}: {'; '.join(source['notes'])}.", err=True)
    for name, spreads in receipt["spread"].items():
        if spreads:
            values = ", ".join(f"{value:.2f} at {lead_time}" for lead_time, value in spreads.items())
            typer.echo(f"Spread of {name} (m s-1, area mean): {values}")
    if receipt["nonfinite_members"]:
        typer.echo(f"Members that are not finite: {', '.join(map(str, receipt['nonfinite_members']))}.", err=True)
    typer.echo(f'Open it:  xarray.open_zarr("{receipt["store"]}")')


def plot(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of a forecast, which contains its ensemble.zarr.")],
    lead_time: Annotated[
        list[str] | None,
        typer.Option(help="Lead time of a map, such as 24h; may be repeated; by default 24h, 120h and 240h."),
    ] = None,
    latitude: Annotated[float, typer.Option(min=-90, max=90, help="Latitude of the plume in degrees north.")] = 51.5,
    longitude: Annotated[float, typer.Option(min=-180, max=360, help="Longitude of the plume in degrees east.")] = 0.0,
    units: Units = "ms",
    bbox: Box = None,
    truth: Annotated[
        list[str] | None,
        typer.Option(
            help="Analyses of valid times, one after another, which are drawn above the maps of the forecast."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Draw maps of the mean and spread, and all members over time at a point (a plume), as PNG files in FOLDER."""
    if context.args and not truth:
        raise typer.BadParameter(f"Only --truth takes several paths. Got: {' '.join(context.args)}.")
    with exit_codes():
        receipt = run(
            "plot",
            folder=folder,
            lead_times=tuple(lead_time or ()),
            latitude=latitude,
            longitude=longitude,
            units=units,
            bbox=bbox,
            truth=[*(truth or ()), *context.args],
        )
    if json:
        print_json(receipt)
        return
    for picture in receipt["pictures"]:
        typer.echo(picture)


def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a forecast, or its ensemble.zarr or summary.zarr.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .nc (NetCDF) or .grib2 (GRIB 2).")],
    summary: SummaryFile = False,
    parameters: ParameterNames = "",
    members: MemberList = "",
    times: ValidTimes = "../..",
    bbox: Box = None,
    json: Json = False,
) -> None:
    """Write the complete lead times of a forecast, or a part of them, as one NetCDF or GRIB 2 file."""
    part = {"summary": summary, "parameters": parameters, "members": members, "times": times, "bbox": bbox}
    with exit_codes("No file was written."), progress_bar("Lead times") as report:
        receipt = run("export", folder=folder, output=output, report=report, **part)
    if json:
        print_json(receipt)
        return
    typer.echo(receipt["path"])


def verify(
    context: typer.Context,
    forecast: Annotated[
        str, typer.Argument(help="Folder of a forecast, its ensemble.zarr, or the id of a forecast of a service.")
    ],
    truth: Annotated[
        list[str],
        typer.Option(help="GRIB, NetCDF or Zarr with analyses of the forecast's valid times, one after another."),
    ],
    climatology: Annotated[
        Path | None, typer.Option(help="File of `warmcast climatology` to compare the forecast with; not for an id.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--json", help="JSON file to write the scores to.")] = None,
    page: Page = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random order of equal values in rank histograms.")] = 0,
    reference: Annotated[
        str | None,
        typer.Option(help="For an id: name of the analyses in diagnostics and metrics, such as gfs-analysis."),
    ] = None,
    url: Url = None,
) -> None:
    """Score a forecast against analyses, at every complete lead time for which there is one.

    Persistence is scored too if there is an analysis of the initial time. A service keeps the scores of its forecast.
    """
    paths = [*truth, *context.args]
    if _FORECAST_ID.fullmatch(forecast) and not Path(forecast).exists():
        if climatology is not None or page is not None:
            raise typer.BadParameter("`--climatology` and `--html` need the folder of a forecast, not an id.")
        if reference is None:
            raise typer.BadParameter("`--reference` must name the analyses, such as gfs-analysis.")
        with exit_codes():
            scores = run("verify ID", url=url, forecast_id=forecast, truth=paths, reference=reference, output=output)
        print_scores(scores["scores"])
        return
    options: dict[str, Any] = {"truth": paths, "climatology": climatology, "seed": seed}
    with exit_codes():
        result = run("verify", store=Path(forecast), output=output, page=page, **options)
    print_scores(result)
