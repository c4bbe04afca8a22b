"""The commands that make and score checkpoints: `warmcast train`, `evaluate` and `climatology`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, folders, print_json, print_line, progress_bar, score_tables
from warmcast.options import (
    Checkpoint,
    Checkpoints,
    Json,
    LeadTime,
    Nfe,
    OutputFolder,
    Page,
    Seed,
    Solver,
    Threads,
    TrainingData,
    Warmth,
)

ScoresFile = Annotated[Path, typer.Option("--json", help="JSON file to write the scores to.")]
Years = Annotated[
    list[int] | None,
    typer.Option(help="Year of the initial times; may be repeated; by default the checkpoint's validation years."),
]
Starts = Annotated[int, typer.Option(min=1, help="Number of initial times, evenly spread over the years.")]
Members = Annotated[int, typer.Option(min=2, max=1000, help="Number of members.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Number of members computed together; by default at most 10.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (train, evaluate, climatology):
        app.command()(command)


def train(
    config: Annotated[Path, typer.Argument(help="YAML file with the configuration.")],
    data: TrainingData,
    output: OutputFolder,
    start: Annotated[
        str | None, typer.Option("--from", help="Name or folder of a checkpoint whose weights are trained further.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train both networks and write OUTPUT/checkpoint."""
    options: dict[str, Any] = {"start": start, "resume": resume, "threads": threads, "report": print_line}
    with exit_codes("The last saved step is kept. To continue, repeat the command with --resume."):
        receipt = run("train", config=config, data=data, output=output, **options)
    if json:
        print_json(receipt)
        return
    typer.echo(f"Checkpoint: {receipt['checkpoint']}")


def evaluate(
    data: TrainingData,
    output: ScoresFile,
    page: Page = None,
    checkpoint: Checkpoint = "demo",
    checkpoints: Checkpoints = "",
    years: Years = None,
    starts: Starts = 32,
    members: Members = 50,
    lead_time: LeadTime = "240h",
    nfe: Nfe = None,
    solver: Solver = None,
    warmth: Warmth = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Score a checkpoint's forecasts against held-out data, and compare them with persistence and climatology.

    An interrupted evaluation continues when the command is repeated.
    """
    options: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_folders": folders(checkpoints), "data": data}
    options |= {"years": tuple(years or ()), "starts": starts, "members": members, "lead_time": lead_time}
    options |= {"nfe": nfe, "solver": solver, "warmth": warmth, "batch_size": batch_size, "seed": seed}
    advice = "Scored initial times are kept. To continue, repeat the command."
    with exit_codes(advice), progress_bar("Initial times") as report:
        options |= {"threads": threads, "report_progress": report, "report_duration": _print_duration}
        result = run("evaluate", output=output, page=page, **options)
    score_tables(result["scores"])


def _print_duration(seconds: float) -> None:
    print_line(f"This takes about {max(seconds / 60, 0.1):.1f} minutes.")


def climatology(
    data: TrainingData,
    valid_time: Annotated[
        str, typer.Option(help="Time whose day of the year the states are close to, such as 2018-09-15T00.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="NetCDF file to write.")],
    checkpoint: Checkpoint = "demo",
    checkpoints: Checkpoints = "",
    years: Annotated[
        list[int] | None,
        typer.Option(help="Year to take states from; may be repeated; by default the checkpoint's training years."),
    ] = None,
    json: Json = False,
) -> None:
    """Write 50 states of other years within 35 days of a date, and their mean spectra.

    `warmcast verify` compares a forecast with them.
    """
    options: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_folders": folders(checkpoints), "data": data}
    with exit_codes():
        receipt = run("climatology", years=tuple(years or ()), valid_time=valid_time, output=output, **options)
    if json:
        print_json(receipt)
        return
    typer.echo(f"{receipt['climatology']}: {receipt['states']} states of {', '.join(map(str, receipt['years']))}")
