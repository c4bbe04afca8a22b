"""The command `warmcast calibrate`: fit colour, damping and noise of a checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from warmcast.commands import run
from warmcast.console import exit_codes, folders, print_cost, print_json, progress_bar
from warmcast.options import Checkpoints, Json, LeadTime, Seed, Threads, TrainingData

Years = Annotated[
    list[str] | None,
    typer.Option(
        help="Year, range of years or dates to fit on, not of the training; may be repeated; by default the "
        "checkpoint's validation years."
    ),
]
ColourRounds = Annotated[
    int,
    typer.Option(min=0, help="Number of rounds that fit the colour of the noise by wavenumber; 0 leaves it as it is."),
]
ColourDecay = Annotated[
    float, typer.Option(min=1, max=1e6, help="E-folding time in which the colour fades over the lead times, in hours.")
]
DampingRounds = Annotated[
    int,
    typer.Option(min=0, help="Number of rounds that fit the damping by wavenumber and latitude; 0 leaves it as it is."),
]
Trials = Annotated[
    int, typer.Option(min=0, help="Number of noises that are tried, white noise included; 0 leaves the noise as it is.")
]
ScaleOnly = Annotated[
    bool,
    typer.Option(
        "--scale-only",
        help="Keep the checkpoint's correlation in time: fit only the scale of each variable's noise, by spread ÷ "
        "skill and the power of residuals after one time step.",
    ),
]
_WIDTH = 140
_MAX_ROWS = 12


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(calibrate)


def calibrate(
    checkpoint: Annotated[str, typer.Argument(help="Name or folder of the checkpoint.")],
    data: TrainingData,
    years: Years = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="New folder for a copy of the checkpoint with the fit.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write the fit to the checkpoint itself; its digest changes.")
    ] = False,
    starts: Annotated[int, typer.Option(min=1, help="Number of initial times, evenly spread over the years.")] = 8,
    members: Annotated[int, typer.Option(min=2, max=1000, help="Number of members.")] = 8,
    lead_time: LeadTime = "240h",
    colour_rounds: ColourRounds = 3,
    colour_decay_hours: ColourDecay = 24.0,
    damping_rounds: DampingRounds = 5,
    trials: Trials = 24,
    spread_weight: Annotated[
        float, typer.Option(min=0, help="Weight of spread ÷ skill beside the CRPS; 0 for the CRPS alone.")
    ] = 0.1,
    scale_only: ScaleOnly = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Number of members computed together; by default at most 10.")
    ] = None,
    checkpoints: Checkpoints = "",
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Fit the colour of a checkpoint's noise, its damping by wavenumber and latitude, then its noise.

    The colour is fitted by the power of residuals after one time step, the noise by its correlation in time and a scale
    for each variable. The years are those that the checkpoint was not trained on. All are written to the manifest of a
    copy, or of the checkpoint itself. An interrupted calibration continues when the command is repeated.
    """
    rounds = {"num_colour_rounds": colour_rounds, "num_damping_rounds": damping_rounds, "num_trials": trials}
    fits = rounds | {"colour_decay_hours": colour_decay_hours, "spread_weight": spread_weight, "scale_only": scale_only}
    options: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_folders": folders(checkpoints), "data": data}
    options |= {"years": tuple(years or ()), "num_starts": starts, "num_members": members, "lead_time": lead_time}
    options |= {"batch_size": batch_size, "seed": seed, "threads": threads, "output": output, "in_place": in_place}
    advice = "What was tried is kept. To continue, repeat the command."
    with exit_codes(advice), progress_bar("Rounds and trials") as report:
        receipt = run("calibrate", fits=fits, report_progress=report, report_cost=print_cost, **options)
    if json:
        print_json(receipt)
        return
    _print_colour_rounds(receipt["colour_rounds"])
    _print_damping_rounds(receipt["damping_rounds"])
    _print_trials(receipt["trials"])
    typer.echo(f"{receipt['checkpoint']}: {receipt['summary']}. SHA-256 {receipt['digest']}")


def _print_colour_rounds(rounds: Sequence[Mapping[str, Any]]) -> None:
    """Print between which gains each round changes the noise, and what that does to the spectra of residuals."""
    for number, each in enumerate(rounds, start=1):
        gains = [gain for row in each["colour"]["gains"] for gain in row]
        changed = f"noise × {min(gains):.2f} to {max(gains):.2f}"
        typer.echo(f"Colour, round {number}: Σ|1 − η| of residuals {each['deviation']:.3g}; {changed}")


def _print_damping_rounds(rounds: Sequence[Mapping[str, Any]]) -> None:
    """Print how much each round changes, and what it does to the spectra."""
    for number, each in enumerate(rounds, start=1):
        gains, eddy_gains, shifts = (
            [value for row in each["damping"][name] for value in row] for name in ("gains", "eddy_gains", "shifts")
        )
        damped = f"{sum(gain < 1 for gain in gains)} of {len(gains)} gains below 1, the least {min(gains):.3f}"
        latitudes = f"eddies × {min(eddy_gains):.3f} or more, zonal means + {min(shifts):.3f} to {max(shifts):.3f}"
        typer.echo(f"Damping, round {number}: Σ|1 − η| {each['deviation']:.3g}; {damped}; {latitudes}")


def _print_trials(trials: Sequence[Mapping[str, Any]]) -> None:
    """Print the best trials, if there are any, and that of white noise as a table; scores are means over variables."""
    if not trials:
        return
    hours = [row["lead_hours"] for row in trials[0]["lead_times"]]
    white = next(trial for trial in trials if _is_white(trial))
    whole = [trial for trial in trials if trial["objective"] is not None]
    rows = [trial for trial in whole if trial in whole[:_MAX_ROWS] or trial is white]
    table = Table(
        box=box.SIMPLE_HEAD, title=f"The best of {len(trials)} noises, and white noise; spread ÷ skill by lead time"
    )
    names = list(next((scale for trial in rows if isinstance(scale := trial["noise"]["scale"], dict)), ()))
    for title in (
        "φ",
        "late",
        "decay",
        f"scale {' '.join(names)}".rstrip(),
        "objective",
        "CRPS ÷ white",
        *(f"{hour} h" for hour in hours),
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for trial in rows:
        noise = trial["noise"]
        ratios = [_mean(row["crps"]) / _mean(base["crps"]) for row, base in _pairs(trial, white)]
        table.add_row(
            f"{noise['correlation']:.2f}",
            f"{noise['late_correlation']:.2f}",
            f"{noise['decay_hours']:.0f} h",
            _format_scale(noise["scale"]),
            f"{trial['objective']:.4g}",
            f"{_mean(ratios):.4f}",
            *(f"{_mean(row['spread_skill']):.2f}" for row in trial["lead_times"]),
        )
    Console(width=_WIDTH, highlight=False).print(table)


def _format_scale(scale: float | Mapping[str, float]) -> str:
    factors = scale.values() if isinstance(scale, Mapping) else (scale,)
    return " ".join(f"{factor:.3f}" for factor in factors)


def _is_white(trial: Mapping[str, Any]) -> bool:
    noise = trial["noise"]
    return not noise["correlation"] and not noise["late_correlation"] and noise["scale"] == 1


def _pairs(trial: Mapping[str, Any], white: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return list(zip(trial["lead_times"], white["lead_times"], strict=True))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
