"""The command line: `warmcast`, its version, `doctor` and the benchmarks; the other commands are in `cli_*.py`."""

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer

from warmcast import (
    cli_batch,
    cli_calibrate,
    cli_catalogue,
    cli_checkpoint,
    cli_forecast,
    cli_inspect,
    cli_models,
    cli_nature,
    cli_remote,
    cli_results,
    cli_schedules,
    cli_service,
    cli_states,
    cli_storage,
    cli_training,
)
from warmcast.commands import run
from warmcast.console import exit_codes, folders, print_json, run_whole
from warmcast.options import DEFAULT_CHECKPOINT, Checkpoint, Checkpoints, Device, Json, JsonFile, Threads, Tiny

app = typer.Typer(
    help="Ensemble weather forecasts by warm-start flow matching.", no_args_is_help=True, pretty_exceptions_enable=False
)

cli_service.add_to(app)
cli_storage.add_to(app)
cli_remote.add_to(app)
cli_results.add_to(app)
cli_models.add_to(app)
cli_catalogue.add_to(app)
cli_schedules.add_to(app)
cli_states.add_to(app)
cli_forecast.add_to(app)
cli_inspect.add_to(app)
cli_training.add_to(app)
cli_calibrate.add_to(app)
cli_nature.add_to(app)
cli_checkpoint.add_to(app)

app.add_typer(cli_batch.app, name="batch")

bench = typer.Typer(help="Benchmarks: ratios to other programs and to limits of the machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@app.command()
def doctor(
    checkpoint: Checkpoint = DEFAULT_CHECKPOINT,
    checkpoints: Checkpoints = "",
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Check that this machine computes correctly and reproducibly, and measure its speed.

    The exit code is 3 if a check fails.
    """
    options = {"checkpoint": checkpoint, "checkpoint_folders": folders(checkpoints)}
    with exit_codes():
        report = run("doctor", device=device, threads=threads, **options)
    if json:
        print_json(report)
    else:
        for finding in report["findings"]:
            typer.echo(f"[{'ok' if finding['is_well'] else 'FAILED'}] {finding['name']}: {finding['found']}")
    if not report["is_well"]:
        raise typer.Exit(3)


@bench.command()
def estimate(json: JsonFile = None, tiny: Tiny = False, threads: Threads = None) -> None:
    """Compare the planned duration and size of forecasts with the measured ones."""
    with exit_codes():
        run("bench estimate", json=json, tiny=tiny, threads=threads)


@bench.command()
def engine(
    json: JsonFile = None,
    tiny: Tiny = False,
    threads: Threads = None,
    compiled: Annotated[bool, typer.Option("--compiled", help="Time compiled networks too; takes minutes.")] = False,
    host_only: Annotated[
        bool, typer.Option("--host-only", help="Time the work of the host alone, with a device that costs nothing.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="With --host-only: a checkout of other code, which is timed in the same run.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Time forecasts on this device, such as cuda, against their time steps alone.")
    ] = None,
) -> None:
    """Compare the duration of whole forecasts with that of their network evaluations and of a plain PyTorch loop."""
    options = {"json": json, "tiny": tiny, "threads": threads, "compiled": compiled}
    with exit_codes():
        run("bench engine", **options, host_only=host_only, against=against, device=device)


@bench.command()
def load(
    json: JsonFile = None,
    tiny: Tiny = False,
    readers: Annotated[
        bool, typer.Option("--readers", help="Load it only with 200 readers of status, time series and chunks.")
    ] = False,
) -> None:
    """Measure latencies, memory and the speed of a forecast while 1300 clients load the service; takes minutes."""
    with exit_codes():
        run("bench load", json=json, tiny=tiny, readers=readers)


@bench.command()
def training(json: JsonFile = None, tiny: Tiny = False, threads: Threads = None) -> None:
    """Compare the training loop with bare optimiser steps on random tensors."""
    with exit_codes():
        run("bench training", json=json, tiny=tiny, threads=threads)


@bench.command()
def loader(json: JsonFile = None, tiny: Tiny = False) -> None:
    """Measure memory and speed of the loader of training data over a store of four times its memory."""
    with exit_codes():
        run("bench loader", json=json, tiny=tiny)


@bench.command()
def networks(json: JsonFile = None, tiny: Tiny = False) -> None:
    """Compare the networks with the same networks without their stem and memory format."""
    with exit_codes():
        run("bench networks", json=json, tiny=tiny)


@bench.command()
def page(json: JsonFile = None, tiny: Tiny = False) -> None:
    """Measure how fast the page goes through the lead times of a large forecast, in Chromium on one core."""
    with exit_codes():
        run("bench page", json=json, tiny=tiny)


@bench.command()
def polling(
    json: JsonFile = None,
    tiny: Tiny = False,
    database_url: Annotated[
        str | None, typer.Option(help="URL of an empty PostgreSQL database; SQLite in a temporary folder by default.")
    ] = None,
) -> None:
    """Compare status requests a second with those of a bare route that reads one row by its key."""
    with exit_codes():
        run("bench polling", json=json, tiny=tiny, database_url=database_url)


@bench.command()
def queue(
    json: JsonFile = None,
    tiny: Tiny = False,
    database_url: Annotated[
        str | None,
        typer.Option(help="URL of a database of PostgreSQL, on whose server others are created; SQLite by default."),
    ] = None,
) -> None:
    """Compare the time to accept, claim, plan and list forecasts while 10 000 wait with that while 10 wait."""
    with exit_codes():
        run("bench queue", json=json, tiny=tiny, database_url=database_url)


@bench.command()
def reading(json: JsonFile = None, tiny: Tiny = False) -> None:
    """Compare the time to read two frames from a large GRIB file with that of ecCodes alone."""
    with exit_codes():
        run("bench reading", json=json, tiny=tiny)


@bench.command()
def scores(json: JsonFile = None, tiny: Tiny = False) -> None:
    """Compare the speed of the CRPS with that of other libraries."""
    with exit_codes():
        run("bench scores", json=json, tiny=tiny)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Ensemble weather forecasts by warm-start flow matching."""
    if show:
        typer.echo(f"warmcast {importlib.metadata.version('warmcast')}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    run_whole(app)
