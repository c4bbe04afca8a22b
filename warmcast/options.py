"""Options that several commands share, with their help texts."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="JSON file to write the measurements to.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="Run with tiny sizes, as a test; the measurements mean nothing.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Number of CPU threads; by default one for each core.")]

DEFAULT_CHECKPOINT = "earth"
"""The checkpoint of commands that name none, as `weather.bundled.DEFAULT_CHECKPOINT` of the service."""

Checkpoint = Annotated[str, typer.Option(help="Name or folder of the checkpoint.")]
Checkpoints = Annotated[
    str, typer.Option(envvar="WARMCAST_CHECKPOINTS", help="Folders with further checkpoints, separated by colons.")
]
Device = Annotated[str, typer.Option(help="Device to compute on: auto, cpu, cuda or cuda:N, where N is its number.")]
Nfe = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Evaluations of the flow network for each member and time step, besides that of the warm start; by default"
        " the checkpoint's number.",
    ),
]
Solver = Annotated[
    str | None, typer.Option(help="Solver: euler, midpoint or single (one evaluation); by default the checkpoint's.")
]
Warmth = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Warmth of the start, from 0 (cold) to 1 (warm); by default the checkpoint's."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the members' noise.")]
LeadTime = Annotated[
    str, typer.Option(help="Length of the forecast: hours or days, such as 120h or 5d; a multiple of the time step.")
]
InitTime = Annotated[
    str | None,
    typer.Option(help="Initial time in UTC, such as 2018-09-15T00; by default the newest of the initial state."),
]
TrainingData = Annotated[
    list[str],
    typer.Option(
        help="GRIB, NetCDF or Zarr, or a folder of them, as a path or an address (https, gs, s3); may be repeated."
    ),
]
OutputFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; it is created.")]
Page = Annotated[Path | None, typer.Option("--html", help="HTML file to write a report to.")]

SummaryFile = Annotated[bool, typer.Option("--summary", help="Statistics over the members, instead of the members.")]
ParameterNames = Annotated[str, typer.Option("--parameter-name", help="Parameters such as u10,v10; all by default.")]
MemberList = Annotated[str, typer.Option(help="Members such as 0-9,12; all by default.")]
ValidTimes = Annotated[
    str,
    typer.Option(
        "--datetime", metavar="FIRST/LAST", help="Valid times in UTC, such as 2026-04-20T06/.., where .. is no limit."
    ),
]
Box = Annotated[
    str | None,
    typer.Option(
        metavar="WEST,SOUTH,EAST,NORTH",
        help="Region in degrees, such as -15,35,30,60; west > east crosses 180°. The globe by default.",
    ),
]

Url = Annotated[
    str | None,
    typer.Option(envvar="WARMCAST_URL", help="URL of the service; by default http://127.0.0.1:8000, this machine."),
]
ForecastId = Annotated[str, typer.Argument(metavar="ID", help="Id of a forecast.")]
Timeout = Annotated[
    float,
    typer.Option(min=0, help="Longest time in seconds for which the service may be unreachable, such as a restart."),
]
Units = Annotated[Literal["ms", "kn", "kmh"], typer.Option(help="Units of wind: m/s, knots or km/h.")]
