"""The commands for initial states that a service keeps: `warmcast states list`, `upload`, `show` and `delete`."""

from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, plural, print_json, print_warning
from warmcast.options import InitTime, Json, Url

Id = Annotated[str, typer.Argument(help="Id of a kept initial state.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    states = typer.Typer(help="Keep initial states on a service, for several forecasts.", no_args_is_help=True)
    states.command("list")(list_)
    states.command()(upload)
    states.command()(show)
    states.command()(delete)
    app.add_typer(states, name="states")


def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Largest number of states.")] = 20,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the newest initial states that the service keeps for you."""
    with exit_codes():
        receipt = run("states list", url=url, limit=limit)
    if json:
        print_json(receipt)
        return
    for state in receipt["states"]:
        _print_line(state)


def upload(
    files: Annotated[
        list[str] | None, typer.Argument(help="One or two files, or a data set of the service's catalogue.")
    ] = None,
    forecast: Annotated[
        str | None, typer.Option(help="Id of a forecast to take the state from, without FILES.")
    ] = None,
    lead_time: Annotated[
        str | None, typer.Option(help="With --forecast: its lead time; by default the state that it starts from.")
    ] = None,
    member: Annotated[int | None, typer.Option(min=0, help="With --lead-time: number of the member.")] = None,
    init_time: InitTime = None,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint whose grid and variables the state gets; by default the service's.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: requests with the same key keep one state.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let the service keep an initial state; its id is an --initial-state of `warmcast submit`."""
    if (forecast is None) == (not files):
        raise typer.BadParameter("Give files or a data set, or --forecast.", param_hint="FILES")
    if forecast is None and (lead_time is not None or member is not None):
        raise typer.BadParameter("--lead-time and --member need --forecast.", param_hint="--lead-time")
    source: dict[str, Any] | list[str] = files or []
    if forecast is not None:
        source = {"source": "forecast", "id": forecast}
        source |= {} if lead_time is None else {"lead_time": lead_time}
        source |= {} if member is None else {"member": member}
    with exit_codes():
        state = run("states upload", url=url, initial_state=source, init_time=init_time, model=model, key=key)
    _print_state(state, json=json)


def show(state_id: Id, url: Url = None, json: Json = False) -> None:
    """Print what an initial state is, and where it is from."""
    with exit_codes():
        state = run("states show", url=url, state_id=state_id)
    _print_state(state, json=json)


def delete(state_id: Id, url: Url = None, json: Json = False) -> None:
    """Delete an initial state; forecasts that were submitted from it have their own copies."""
    with exit_codes():
        receipt = run("states delete", url=url, state_id=state_id)
    if json:
        print_json(receipt)


def _print_state(state: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(state)
        return
    _print_line(state)
    grid = state["grid"]
    typer.echo(f"grid       {grid['latitudes']} × {grid['longitudes']} points, {', '.join(state['variables'])}")
    typer.echo(f"frames     {plural(state['frames'], 'frame')}, {state['time_step_hours']} h apart")
    typer.echo(f"sources    {', '.join(state['sources'])}")
    typer.echo(f"expires    {state['expires'] or 'never'}")
    for warning in state["warnings"]:
        print_warning(warning)


def _print_line(state: dict[str, Any]) -> None:
    typer.echo(f"{state['id']}  {state['init_time']}  {state['bytes'] / 1e6:8.2f} MB  {', '.join(state['sources'])}")
