"""The commands that make and score checkpoints: `warmcast train`, `evaluate` and `climatology`."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, folders, format_years, print_cost, print_json, print_line, progress_bar
from warmcast.dry_run_table import print_estimate
from warmcast.options import (
    DEFAULT_CHECKPOINT,
    Checkpoint,
    Checkpoints,
    Json,
    LeadTime,
    Nfe,
    Page,
    Seed,
    Solver,
    Threads,
    TrainingData,
    Warmth,
)
from warmcast.score_tables import print_scores
from warmcast.training_progress import training_progress

ScoresFile = Annotated[Path, typer.Option("--json", help="JSON file to write the scores to.")]
Years = Annotated[
    list[str] | None,
    typer.Option(
        help="Year, range of years or dates (2019, 2019-2020, 2026-04-18T00/2026-05-06) of the initial times; may be "
        "repeated; by default the checkpoint's validation years."
    ),
]
Starts = Annotated[int, typer.Option(min=1, help="Number of initial times, evenly spread over the years.")]
Members = Annotated[int, typer.Option(min=2, max=1000, help="Number of members.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Number of members computed together; by default at most 10.")
]
ScoreAt = Annotated[
    list[str] | None,
    typer.Option(help="Lead time to score, such as 24h or 3d; may be repeated; by default all up to --lead-time."),
]
Against = Annotated[
    str | None, typer.Option(help="Name or folder of another checkpoint to compare with, from the same starts.")
]
AgainstSampler = Annotated[
    str | None,
    typer.Option(
        help="Another sampler to compare with, such as solver=euler,nfe=4, or other noise, such as correlation=0; of "
        "the same checkpoint, or of --against."
    ),
]
Control = Annotated[
    bool, typer.Option("--control/--no-control", help="Score Gaussian noise of the colour of true residuals too.")
]
ClimatologyKind = Annotated[
    Literal["auto", "seasonal", "pooled"],
    typer.Option(
        help="States of climatology: those of the training years within 35 days of the date, or of all dates; by "
        "default the former, if there are enough."
    ),
]
NaturalYears = Annotated[
    list[str] | None,
    typer.Option(
        help="Years whose spectra are compared with each other, such as 1982-1986; may be repeated; by default the "
        "training years in the data."
    ),
]
BlockDays = Annotated[
    float,
    typer.Option(min=0.01, help="Days within which starts depend on each other: the blocks that are resampled."),
]
Stability = Annotated[bool, typer.Option("--stability", help="Test long forecasts too: are they stable?")]
StabilityStarts = Annotated[int, typer.Option(min=1, help="Number of initial times of --stability.")]
StabilityDays = Annotated[float, typer.Option(min=1, help="Length of the forecasts of --stability in days.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (train, evaluate, climatology):
        app.command()(command)


def train(
    config: Annotated[Path, typer.Argument(help="YAML file with the configuration, or the name of a bundled one.")],
    data: TrainingData,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to; it is created. Not needed by --dry-run.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Name or folder of a checkpoint whose weights are trained further.")
    ] = None,
    checkpoints: Checkpoints = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    device: Annotated[
        str | None,
        typer.Option(help="Device to compute on: auto, cpu, cuda or cuda:N; by default that of the configuration."),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes on this machine, one for each device; as torchrun starts them."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make one step of each stage, and estimate memory, hours and cost.")
    ] = False,
    gpu: Annotated[
        str, typer.Option(help="GPU of the estimates of --dry-run: h100, h200, a100, l40s or rtx4090.")
    ] = "h100",
    share: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of its peak speed and bandwidth that steps reach.")
    ] = 0.2,
    price: Annotated[float, typer.Option(min=0, help="Price of an hour of that GPU, in any currency.")] = 3.0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train the networks and write OUTPUT/checkpoint."""
    options: dict[str, Any] = {"start": start, "checkpoint_folders": folders(checkpoints)}
    options |= {"resume": resume, "threads": threads}
    options |= {"device": device, "processes": processes}
    options["prices"] = {"gpu": gpu, "share": share, "per_hour": price} if dry_run else None
    advice = "The last saved step is kept. To continue, repeat the command with --resume."
    with exit_codes(advice), training_progress() as report:
        receipt = run("train", config=config, data=data, output=output, report=report, note=print_line, **options)
    if os.environ.get("RANK", "0") != "0":
        return
    if json:
        print_json(receipt)
    elif dry_run:
        print_estimate(receipt)
    else:
        typer.echo(f"Checkpoint: {receipt['checkpoint']}")


def evaluate(
    data: TrainingData,
    output: ScoresFile,
    page: Page = None,
    checkpoint: Checkpoint = DEFAULT_CHECKPOINT,
    checkpoints: Checkpoints = "",
    years: Years = None,
    starts: Starts = 32,
    members: Members = 50,
    lead_time: LeadTime = "240h",
    score_at: ScoreAt = None,
    nfe: Nfe = None,
    solver: Solver = None,
    warmth: Warmth = None,
    against: Against = None,
    against_sampler: AgainstSampler = None,
    control: Control = True,
    climatology: ClimatologyKind = "auto",
    natural_years: NaturalYears = None,
    block_days: BlockDays = 5.0,
    stability: Stability = False,
    stability_starts: StabilityStarts = 12,
    stability_days: StabilityDays = 60.0,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Score a checkpoint's forecasts against held-out data, and compare them with references and other forecasts.

    References are persistence, climatology and Gaussian noise without a flow. An interrupted evaluation continues when
    the command is repeated.
    """
    options: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_folders": folders(checkpoints), "data": data}
    options |= {"years": tuple(years or ()), "num_starts": starts, "num_members": members, "seed": seed}
    options |= {"lead_time": lead_time, "score_at": score_at or (), "batch_size": batch_size, "threads": threads}
    options |= {"sampler": {"nfe": nfe, "solver": solver, "warmth": warmth}, "control": control}
    options |= {"against": against, "against_sampler": against_sampler, "block_days": block_days}
    options |= {"climatology": None if climatology == "auto" else climatology, "natural_years": natural_years}
    options["stability"] = {"num_starts": stability_starts, "days": stability_days} if stability else None
    advice = "Scored initial times are kept. To continue, repeat the command."
    with exit_codes(advice), progress_bar("Initial times") as report:
        options |= {"report_progress": report, "report_cost": print_cost}
        result = run("evaluate", output=output, page=page, **options)
    print_scores(result)


def climatology(
    data: TrainingData,
    valid_time: Annotated[
        str, typer.Option(help="Time whose day of the year the states are close to, such as 2018-09-15T00.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="NetCDF file to write.")],
    checkpoint: Checkpoint = DEFAULT_CHECKPOINT,
    checkpoints: Checkpoints = "",
    years: Annotated[
        list[str] | None,
        typer.Option(
            help="Year, range of years or dates to take states from; may be repeated; by default the checkpoint's "
            "training years."
        ),
    ] = None,
    pooled: Annotated[
        bool, typer.Option("--pooled", help="Take states of all dates of the years, for data of few years.")
    ] = False,
    json: Json = False,
) -> None:
    """Write 50 states of other years within 35 days of a date, and their mean spectra.

    `warmcast verify` compares a forecast with them.
    """
    options: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_folders": folders(checkpoints), "data": data}
    options |= {"years": tuple(years or ()), "valid_time": valid_time, "pooled": pooled}
    with exit_codes():
        receipt = run("climatology", output=output, **options)
    if json:
        print_json(receipt)
        return
    typer.echo(f"{receipt['climatology']}: {receipt['states']} states of {format_years(receipt['years'])}")
