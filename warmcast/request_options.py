"""The options of the commands that describe a forecast to a service, such as `submit` and `plan`: one list for all."""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from warmcast.forecast_lines import parse_labels
from warmcast.options import DEFAULT_CHECKPOINT, InitTime, LeadTime, Nfe, Solver, Warmth

States = Annotated[
    list[str] | None,
    typer.Option(
        help="Data set of the service's catalogue, or one or two files, one after another; the option's name may be "
        "left out."
    ),
]
NumMembers = Annotated[int, typer.Option(min=1, help="Number of members.")]
Model = Annotated[str, typer.Option(help="Name of a checkpoint of the service.")]
OptionalSeed = Annotated[
    int | None, typer.Option(min=0, help="Seed of the members' noise; by default the service draws one.")
]
Deadline = Annotated[
    float | None,
    typer.Option(
        min=1, help="Seconds after which the forecast must have ended; without --nfe the service chooses it to fit."
    ),
]
Priority = Annotated[str, typer.Option(help="Priority in the queue: low, normal or high.")]
SummaryOnly = Annotated[bool, typer.Option("--summary-only", help="Store statistics over the members, but no members.")]
Labels = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Label of your own, such as project=harbour; may be repeated."),
]
RetentionHours = Annotated[
    float | None,
    typer.Option(min=0, help="Hours after its end for which the data is kept; by default as the service does."),
]
KeepBits = Annotated[
    int | None, typer.Option(min=1, max=23, help="Round values to this number of mantissa bits; by default exact.")
]


def _read_request(
    context: typer.Context,
    initial_state: States = None,
    init_time: InitTime = None,
    members: NumMembers = 8,
    lead_time: LeadTime = "120h",
    model: Model = DEFAULT_CHECKPOINT,
    seed: OptionalSeed = None,
    nfe: Nfe = None,
    solver: Solver = None,
    warmth: Warmth = None,
    deadline: Deadline = None,
    priority: Priority = "normal",
    summary_only: SummaryOnly = False,
    keep_bits: KeepBits = None,
    label: Labels = None,
    retention_hours: RetentionHours = None,
) -> dict[str, Any]:
    """Return the request that the options state: initial state, initial time and the other fields."""
    states = [*(initial_state or ()), *context.args]
    if not states:
        raise typer.BadParameter(
            "Name the initial state: a data set of `warmcast catalogue`, such as gfs, or one or two files."
        )
    fields: dict[str, Any] = {"members": members, "lead_time": lead_time, "model": model, "seed": seed}
    fields |= {"nfe": "auto" if nfe is None and deadline is not None else nfe, "solver": solver, "warmth": warmth}
    fields |= {"deadline_seconds": deadline, "priority": priority, "retention_hours": retention_hours}
    fields["labels"] = parse_labels(label)
    fields["output"] = {"members": not summary_only, "keep_bits": keep_bits}
    return {"initial_state": states, "init_time": init_time, "fields": fields}


def with_request(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that has the options of a forecast before its own; its first argument is the request."""

    @functools.wraps(command)
    def with_options(**options: Any) -> None:
        request = read(**{name: options.pop(name) for name in shared})
        command(request, **options)

    read: Callable[..., dict[str, Any]] = _read_request
    shared = inspect.signature(_read_request).parameters
    _, *own = inspect.signature(command).parameters.values()
    hints = [typing.get_type_hints(function, include_extras=True) for function in (_read_request, command)]
    with_options.__dict__["__signature__"] = inspect.Signature([*shared.values(), *own])
    with_options.__annotations__ = {name: kind for of in reversed(hints) for name, kind in of.items()}
    return with_options


def add_with_request(app: typer.Typer, command: Callable[..., None]) -> None:
    """Add a command that begins with a request to an application, under the name of its function."""
    app.command(command.__name__, context_settings={"allow_extra_args": True})(with_request(command))
