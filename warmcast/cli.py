"""The command line: `warmcast forecast`, `plot`, `train`, `evaluate`, `bench`."""

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer

from warmcast import cli_remote, cli_service
from warmcast.commands import run
from warmcast.console import exit_codes, folders, line, print_json, progress_bar, score_tables

app = typer.Typer(
    help="Ensemble weather forecasts by warm-start flow matching.", no_args_is_help=True, pretty_exceptions_enable=False
)

cli_service.add_to(app)
cli_remote.add_to(app)

bench = typer.Typer(help="Benchmarks: ratios against peers and limits, measured in one run.", no_args_is_help=True)
app.add_typer(bench, name="bench")

Json = Annotated[bool, typer.Option("--json", help="Print the receipt as JSON on standard output.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File to write the figures to.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="Shrink everything; the figures mean nothing.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; one a core by default.")]
Nfe = Annotated[int | None, typer.Option(min=1, help="Network evaluations a step; the checkpoint's by default.")]
Solver = Annotated[str | None, typer.Option(help="euler or midpoint; the checkpoint's by default.")]
Warmth = Annotated[float | None, typer.Option(min=0, max=1, help="1 is fully warm; the checkpoint's by default.")]
Checkpoint = Annotated[str, typer.Option(help="Name or folder of a checkpoint.")]
Checkpoints = Annotated[
    str, typer.Option(envvar="WARMCAST_CHECKPOINTS", help="Folders of more checkpoints, separated by colons.")
]
Data = Annotated[list[Path], typer.Option(help="NetCDF file, Zarr store or folder of them; may be repeated.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")]


@app.command(context_settings={"allow_extra_args": True})
def forecast(
    context: typer.Context,
    initial_state: Annotated[
        list[str],
        typer.Option(help="GRIB, NetCDF or Zarr with the two frames; several files after one another. Or `sample`."),
    ],
    output: Output,
    init_time: Annotated[str | None, typer.Option(help="Time to start from, UTC; the newest by default.")] = None,
    members: Annotated[int, typer.Option(min=1, max=1000, help="Number of members.")] = 8,
    lead_time: Annotated[str, typer.Option(help="How far ahead, such as 120h or 5d.")] = "120h",
    nfe: Annotated[
        int | None, typer.Option(min=1, help="Network evaluations a step; the checkpoint's by default.")
    ] = None,
    solver: Solver = None,
    warmth: Warmth = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the members' noise.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Members computed together; at most 8 by default.")
    ] = None,
    member: Annotated[list[int] | None, typer.Option(min=0, help="Only this member; may be repeated.")] = None,
    checkpoint: Checkpoint = "demo",
    checkpoints: Checkpoints = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto.")] = "auto",
    threads: Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted forecast.")] = False,
    summary: Annotated[bool, typer.Option(help="Write statistics over the members beside them.")] = True,
    json: Json = False,
) -> None:
    """Turn an initial state into OUTPUT/ensemble.zarr and OUTPUT/summary.zarr, readable while they grow."""
    with exit_codes(), progress_bar("Lead times") as tell:
        receipt = run(
            "forecast",
            initial_state=[*initial_state, *context.args],
            output=output,
            init_time=init_time,
            num_members=members,
            lead_time=lead_time,
            nfe=nfe,
            solver=solver,
            warmth=warmth,
            seed=seed,
            batch_size=batch_size,
            only_members=tuple(member or ()),
            checkpoint=checkpoint,
            checkpoint_folders=folders(checkpoints),
            device=device,
            threads=threads,
            resume=resume,
            summary=summary,
            tell=tell,
        )
    if json:
        print_json(receipt)
        return
    typer.echo(
        f"Forecast from {receipt['init_time']} UTC, {receipt['members']} members, {receipt['wall_seconds']:.0f} s."
    )
    for name, spreads in receipt["spread"].items():
        told = ", ".join(f"{value:.2f} at {lead}" for lead, value in spreads.items())
        typer.echo(f"Spread of {name} (m s-1, area mean): {told}")
    if receipt["nonfinite_members"]:
        typer.echo(f"Not finite: members {receipt['nonfinite_members']}.", err=True)
    typer.echo(f'Open it:  xarray.open_zarr("{receipt["store"]}")')


@app.command()
def doctor(
    checkpoint: Checkpoint = "demo",
    checkpoints: Checkpoints = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto.")] = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Find out whether this machine computes right, alike and how fast; prints a block to paste."""
    with exit_codes():
        found = run(
            "doctor", checkpoint=checkpoint, checkpoint_folders=folders(checkpoints), device=device, threads=threads
        )
    if json:
        print_json(found)
    else:
        for each in found["findings"]:
            typer.echo(f"[{'ok' if each['is_well'] else 'NOT WELL'}] {each['name']}: {each['found']}")
    if not found["is_well"]:
        raise typer.Exit(3)


@app.command()
def plot(
    folder: Annotated[Path, typer.Argument(help="Folder of a forecast, with its ensemble.zarr.")],
    lead_time: Annotated[list[str] | None, typer.Option(help="Lead time of a map; may be repeated.")] = None,
    latitude: Annotated[float, typer.Option(min=-90, max=90, help="Latitude of the plume.")] = 51.5,
    longitude: Annotated[float, typer.Option(min=-180, max=360, help="Longitude of the plume.")] = 0.0,
    json: Json = False,
) -> None:
    """Draw maps of the ensemble's mean and spread and the plume at a point, as PNG files beside the store."""
    with exit_codes():
        receipt = run("plot", folder=folder, lead_times=tuple(lead_time or ()), latitude=latitude, longitude=longitude)
    if json:
        print_json(receipt)
        return
    for picture in receipt["pictures"]:
        typer.echo(picture)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML configuration.")],
    data: Data,
    output: Output,
    start: Annotated[
        str | None, typer.Option("--from", help="Checkpoint whose weights are trained on; name or folder.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train both networks and write OUTPUT/checkpoint."""
    with exit_codes():
        receipt = run(
            "train", config=config, data=data, output=output, start=start, resume=resume, threads=threads, tell=line
        )
    if json:
        print_json(receipt)
        return
    typer.echo(f"Checkpoint: {receipt['checkpoint']}")


@app.command()
def evaluate(
    data: Data,
    output: Annotated[Path, typer.Option("--json", help="File to write the scores to.")],
    page: Annotated[Path | None, typer.Option("--html", help="File to write a report to.")] = None,
    checkpoint: Checkpoint = "demo",
    checkpoints: Checkpoints = "",
    years: Annotated[
        list[int] | None, typer.Option(help="Year to start forecasts in, may be repeated; the checkpoint's by default.")
    ] = None,
    starts: Annotated[int, typer.Option(min=1, help="Number of starts, evenly spread over the years.")] = 32,
    members: Annotated[int, typer.Option(min=2, max=1000, help="Number of members.")] = 50,
    lead_time: Annotated[str, typer.Option(help="How far ahead, such as 240h or 10d.")] = "240h",
    nfe: Nfe = None,
    solver: Solver = None,
    warmth: Warmth = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Members computed together; at most 10 by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the members' noise.")] = 0,
    threads: Threads = None,
) -> None:
    """Score forecasts against held-out weather, beside persistence and climatology; goes on where it was cut off."""
    with exit_codes("the same command goes on from there"), progress_bar("Starts") as tell:
        result = run(
            "evaluate",
            checkpoint=checkpoint,
            checkpoint_folders=folders(checkpoints),
            data=data,
            years=tuple(years or ()),
            starts=starts,
            members=members,
            lead_time=lead_time,
            nfe=nfe,
            solver=solver,
            warmth=warmth,
            batch_size=batch_size,
            seed=seed,
            threads=threads,
            output=output,
            page=page,
            tell=tell,
            announce=lambda seconds: line(f"This takes about {max(seconds / 60, 0.1):.1f} minutes."),
        )
    score_tables(result["scores"])


@app.command()
def climatology(
    data: Data,
    valid_time: Annotated[str, typer.Option(help="Time whose date the states are around, such as 2018-09-15T00.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="NetCDF file to write.")],
    checkpoint: Checkpoint = "demo",
    checkpoints: Checkpoints = "",
    years: Annotated[
        list[int] | None, typer.Option(help="Year to take states from, may be repeated; those of training by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Write 50 states of other years within 35 days of a date, and their mean spectra: a reference for `verify`."""
    with exit_codes():
        receipt = run(
            "climatology",
            checkpoint=checkpoint,
            checkpoint_folders=folders(checkpoints),
            data=data,
            years=tuple(years or ()),
            valid_time=valid_time,
            output=output,
        )
    if json:
        print_json(receipt)
        return
    typer.echo(f"{receipt['climatology']}: {receipt['states']} states of {', '.join(map(str, receipt['years']))}")


@app.command(context_settings={"allow_extra_args": True})
def verify(
    context: typer.Context,
    store: Annotated[Path, typer.Argument(help="Folder of a forecast, or its ensemble.zarr.")],
    truth: Annotated[list[str], typer.Option(help="GRIB, NetCDF or Zarr with what came; several after one another.")],
    climatology: Annotated[Path | None, typer.Option(help="File of `warmcast climatology` to compare with.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="File to write the scores to.")] = None,
    page: Annotated[Path | None, typer.Option("--html", help="File to write a report to.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed that breaks ties of ranks.")] = 0,
) -> None:
    """Score a forecast against what came, at every complete lead time that the truth has.

    Beside persistence, where the truth also has the time that the forecast began at.
    """
    with exit_codes():
        result = run(
            "verify",
            store=store,
            truth=[*truth, *context.args],
            climatology=climatology,
            seed=seed,
            output=output,
            page=page,
        )
    score_tables(result["scores"])


@bench.command()
def estimate(json: JsonFile = None, tiny: Tiny = False, threads: Threads = None) -> None:
    """Compare what forecasts were planned to take with what they took."""
    with exit_codes():
        run("bench estimate", json=json, tiny=tiny, threads=threads)


@bench.command()
def engine(
    json: JsonFile = None,
    tiny: Tiny = False,
    threads: Threads = None,
    compiled: Annotated[bool, typer.Option("--compiled", help="Time compiled networks too: minutes more.")] = False,
) -> None:
    """Compare whole forecasts with their evaluations alone and with a plain PyTorch loop."""
    with exit_codes():
        run("bench engine", json=json, tiny=tiny, threads=threads, compiled=compiled)


@bench.command()
def networks(json: JsonFile = None, tiny: Tiny = False) -> None:
    """Compare the networks' stem and memory format with the design without them."""
    with exit_codes():
        run("bench networks", json=json, tiny=tiny)


@bench.command()
def scores(json: JsonFile = None, tiny: Tiny = False) -> None:
    """Compare the CRPS with those of other libraries."""
    with exit_codes():
        run("bench scores", json=json, tiny=tiny)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    """Ensemble weather forecasts by warm-start flow matching."""
    if show:
        typer.echo(f"warmcast {importlib.metadata.version('warmcast')}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    app()
