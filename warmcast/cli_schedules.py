"""The commands of schedules: `warmcast schedules create`, `list`, `show`, `runs`, `pause`, `resume` and more."""

import json as json_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from warmcast.cli_remote import Key
from warmcast.commands import run
from warmcast.console import exit_codes, print_json
from warmcast.options import Json, Url

_app = typer.Typer(help="Forecasts that a service submits by itself, for each new analysis.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of a schedule.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.add_typer(_app, name="schedules")


@_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the schedule.")],
    dataset: Annotated[str, typer.Argument(help="Data set of the service's catalogue.")],
    every: Annotated[int, typer.Option(min=1, max=240, help="Hours from one cycle to the next.")] = 6,
    offset: Annotated[int, typer.Option(min=0, max=239, help="Hours of the cycles after multiples of --every.")] = 0,
    catch_up: Annotated[
        str, typer.Option(help="Cycles to submit when their time has passed: skip, newest, all, or a number.")
    ] = "newest",
    wait: Annotated[float, typer.Option(min=1, max=240, help="Hours for which a cycle is waited for.")] = 12.0,
    verify: Annotated[
        bool | None, typer.Option("--verify/--no-verify", help="Whether to verify forecasts; by default if possible.")
    ] = None,
    forecast: Annotated[
        Path | None,
        typer.Option(help="File with the body of `POST /forecast` without `initial_state`, as JSON.", exists=True),
    ] = None,
    key: Key = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let the service submit a forecast for each cycle of a data set, and verify it later."""
    body: dict[str, Any] = {"name": name, "dataset": dataset, "every_hours": every, "offset_hours": offset}
    body |= {"catch_up": int(catch_up) if catch_up.isdecimal() else catch_up, "wait_hours": wait}
    body |= {} if verify is None else {"verify": verify}
    body |= {} if forecast is None else {"forecast": _read(forecast)}
    with exit_codes():
        schedule = run("schedules create", url=url, body=body, key=key)
    _print_schedule(schedule, json=json)


def _read(file: Path) -> dict[str, Any]:
    try:
        body = json_module.loads(file.read_text())
    except ValueError as error:
        raise typer.BadParameter(f"`{file}` must be JSON. {error}", param_hint="--forecast") from error
    if not isinstance(body, dict):
        raise typer.BadParameter(f"`{file}` must be a JSON object.", param_hint="--forecast")
    return body


@_app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Largest number of schedules.")] = 50,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the newest schedules."""
    with exit_codes():
        receipt = run("schedules list", url=url, limit=limit)
    if json:
        print_json(receipt)
        return
    for schedule in receipt["schedules"]:
        _print_line(schedule)


@_app.command()
def show(schedule_id: Id, url: Url = None, json: Json = False) -> None:
    """Print a schedule: its next and last run, and what has come of its cycles."""
    with exit_codes():
        schedule = run("schedules show", url=url, schedule_id=schedule_id)
    _print_schedule(schedule, json=json)


@_app.command()
def runs(
    schedule_id: Id,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Largest number of cycles.")] = 20,
    state: Annotated[
        Literal["waiting", "submitted", "missed", "skipped", "failed"] | None, typer.Option(help="Only such runs.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the newest cycles of a schedule, and what has come of each."""
    with exit_codes():
        receipt = run("schedules runs", url=url, schedule_id=schedule_id, limit=limit, state=state)
    if json:
        print_json(receipt)
        return
    for each in receipt["runs"]:
        detail = each["forecast"] or (each["problem"] or {}).get("detail", "")
        typer.echo(
            f"{each['init_time']}  {each['state']:<9}  verification {each['verification']['state']:<7}  {detail}"
        )


@_app.command()
def pause(schedule_id: Id, url: Url = None, json: Json = False) -> None:
    """Pause a schedule: no cycle is submitted until it is resumed."""
    with exit_codes():
        schedule = run("schedules pause", url=url, schedule_id=schedule_id)
    _print_schedule(schedule, json=json)


@_app.command()
def resume(schedule_id: Id, url: Url = None, json: Json = False) -> None:
    """Resume a schedule with its newest cycle."""
    with exit_codes():
        schedule = run("schedules resume", url=url, schedule_id=schedule_id)
    _print_schedule(schedule, json=json)


@_app.command()
def delete(schedule_id: Id, url: Url = None, json: Json = False) -> None:
    """Delete a schedule and the list of its runs; its forecasts are kept."""
    with exit_codes():
        receipt = run("schedules delete", url=url, schedule_id=schedule_id)
    if json:
        print_json(receipt)


@_app.command()
def latest(schedule_id: Id, url: Url = None, json: Json = False) -> None:
    """Print the newest successful forecast of a schedule."""
    with exit_codes():
        info = run("schedules latest", url=url, schedule_id=schedule_id)
    if json:
        print_json(info)
        return
    typer.echo(f"{info['id']}  {info['init_time']}  {info['status']}")


def _print_schedule(schedule: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(schedule)
        return
    _print_line(schedule)
    last = schedule["last_run"]
    typer.echo(f"data set   {schedule['dataset']}, every {schedule['every_hours']} h")
    typer.echo(f"next run   {schedule['next_run'] or 'none'}")
    typer.echo(f"last run   {last['init_time'] + ', ' + last['state'] if last else 'none'}")
    counts = ", ".join(f"{number} {state}" for state, number in schedule["counts"].items())
    typer.echo(f"runs       {counts or 'none'}; {schedule['late']} late")
    if schedule["reason"]:
        typer.echo(f"stopped    {schedule['reason']}")


def _print_line(schedule: dict[str, Any]) -> None:
    typer.echo(f"{schedule['id']}  {schedule['state']:<7}  {schedule['next_run'] or '-':<19}  {schedule['name']}")
