"""The commands that run a service: `warmcast serve`, `api`, `openapi`, `worker`, and those of API keys."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, print_json, print_line
from warmcast.options import Json

Port = Annotated[int, typer.Option(min=1, max=65535, help="TCP port to listen on.")]
Host = Annotated[
    str, typer.Option(help="Address to listen on; on any but a loopback address every request needs an API key.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="TCP port of /metrics for other machines; by default --port serves it, on loopback only."
    ),
]
OpenForecasts = Annotated[int | None, typer.Option(min=0, help="Forecasts that may wait or run at the same time.")]
ForecastEvaluations = Annotated[
    int | None, typer.Option(min=0, help="Evaluations for a forecast: members × lead times × (NFE + 1).")
]
DayEvaluations = Annotated[
    int | None, typer.Option(min=0, help="Evaluations for all forecasts that are accepted on one day (UTC).")
]
KeptBytes = Annotated[int | None, typer.Option(min=0, help="Bytes of all forecasts whose data is kept.")]
Uploads = Annotated[int | None, typer.Option(min=0, help="Uploads at the same time.")]
HighPriority = Annotated[
    bool | None, typer.Option("--high-priority/--no-high-priority", help="Whether the priority high may be used.")
]
Expires = Annotated[
    str | None,
    typer.Option(help="When the key expires: a duration such as 90d or 12h, or a time (UTC) such as 2027-01-31T12:00."),
]
DataFolder = Annotated[
    Path | None, typer.Option(help="Folder of the service's data; by default the setting WARMCAST_DATA.")
]

keys = typer.Typer(help="API keys; a key gives access to the forecasts submitted with it.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (serve, api, openapi, worker, audit):
        app.command()(command)
    keys.command()(create)
    keys.command()(limit)
    keys.command("list")(list_)
    keys.command()(revoke)
    keys.command()(rotate)
    app.add_typer(keys, name="key")


def serve(
    port: Port = 8000, host: Host = "127.0.0.1", metrics_port: MetricsPort = None, data: DataFolder = None
) -> None:
    """Serve forecasts over HTTP, with one worker on this machine; no other program is needed."""
    with exit_codes():
        run("serve", host=host, port=port, metrics_port=metrics_port, data=data, report=print_line)


def api(port: Port = 8000, host: Host = "127.0.0.1", metrics_port: MetricsPort = None, data: DataFolder = None) -> None:
    """Serve forecasts over HTTP without a worker; start workers with `warmcast worker`."""
    with exit_codes():
        run("api", host=host, port=port, metrics_port=metrics_port, data=data, report=print_line)


def openapi() -> None:
    """Print the OpenAPI document of the service as JSON."""
    with exit_codes():
        print_json(run("openapi"))


def worker(data: DataFolder = None) -> None:
    """Run a worker, which computes the forecasts in a service's queue."""
    with exit_codes():
        run("worker", data=data)


def audit(
    since: Annotated[
        str | None, typer.Option(help="Only entries since then: a duration such as 7d, or a time (UTC).")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only entries of this key; cli: those of the command line.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Largest number of entries.")] = 100,
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Print who submitted, cancelled, deleted and verified what, changed keys, or was refused; newest first."""
    with exit_codes():
        receipt = run("audit", since=since, key=key, limit=limit, data=data)
    if json:
        print_json(receipt)
        return
    for entry in receipt["entries"]:
        number = f"{entry['number']} × " if entry["action"] == "refused" else ""
        parts = (entry["actor"] or "-", entry["role"] or "-", f"{number}{entry['action']}", entry["subject"] or "-")
        origin = (entry["outcome"], entry["address"] or "-", entry["request_id"] or "-")
        typer.echo("  ".join((_time(entry["time"]), *parts, *origin)))


def create(
    name: Annotated[str, typer.Argument(help="Name of the key, such as its holder.")],
    role: Annotated[
        Literal["reader", "submitter", "operator"],
        typer.Option(help="Readers read the forecasts of one key; operators manage those of all keys."),
    ] = "submitter",
    of: Annotated[
        str | None, typer.Option(help="Id of the key whose forecasts a reader reads; local: those without a key.")
    ] = None,
    expires: Expires = None,
    open_forecasts: OpenForecasts = None,
    forecast_evaluations: ForecastEvaluations = None,
    day_evaluations: DayEvaluations = None,
    kept_bytes: KeptBytes = None,
    uploads: Uploads = None,
    high_priority: HighPriority = None,
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Create an API key and print its secret, which cannot be printed again."""
    limits = _limits(open_forecasts, forecast_evaluations, day_evaluations, kept_bytes, uploads, high_priority)
    with exit_codes():
        key = run("key create", name=name, limits=limits, role=role, of=of, expires=expires, data=data)
    if json:
        print_json(key)
        return
    _print_secret(key)
    print_line("From now on the service refuses every request without a key.")


def limit(
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
    open_forecasts: OpenForecasts = None,
    forecast_evaluations: ForecastEvaluations = None,
    day_evaluations: DayEvaluations = None,
    kept_bytes: KeptBytes = None,
    uploads: Uploads = None,
    high_priority: HighPriority = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="First remove all limits of the key's own: the settings apply.")
    ] = False,
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Set limits of an API key that differ from those of the settings, and print all of its limits."""
    limits = _limits(open_forecasts, forecast_evaluations, day_evaluations, kept_bytes, uploads, high_priority)
    if not defaults:
        limits = {name: value for name, value in limits.items() if value is not None}
    with exit_codes():
        key = run("key limit", key_id=key_id, limits=limits, data=data)
    if json:
        print_json(key)
    else:
        _print_key(key)


def list_(data: DataFolder = None, json: Json = False) -> None:
    """List the API keys without their secrets, with their limits (* the key's own) and how much of them is used."""
    with exit_codes():
        receipt = run("key list", data=data)
    if json:
        print_json(receipt)
        return
    for key in receipt["keys"]:
        _print_key(key)


def revoke(key_id: Annotated[str, typer.Argument(help="Id of the key.")], data: DataFolder = None) -> None:
    """Revoke an API key: requests with it are refused from now on; its forecasts are kept."""
    with exit_codes():
        run("key revoke", key_id=key_id, data=data)


def rotate(
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
    overlap: Annotated[
        str, typer.Option(help="How long the secret until now stays valid, such as 24h; 0h: it is void at once.")
    ] = "24h",
    expires: Expires = None,
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Give an API key a new secret and print it; the key keeps its id, and so its forecasts and limits."""
    with exit_codes():
        key = run("key rotate", key_id=key_id, overlap=overlap, expires=expires, data=data)
    if json:
        print_json(key)
        return
    _print_secret(key)
    print_line(f"The secret until now is valid until {_time(key['previous_until'])}.")


def _print_secret(key: dict[str, Any]) -> None:
    typer.echo(key["secret"])
    print_line(f"The id of the key is {key['id']}. Save the secret: it cannot be printed again.")


def _limits(
    open_forecasts: int | None,
    forecast_evaluations: int | None,
    day_evaluations: int | None,
    kept_bytes: int | None,
    uploads: int | None,
    high_priority: bool | None,
) -> dict[str, int | None]:
    return {
        "open_forecasts": open_forecasts,
        "forecast_evaluations": forecast_evaluations,
        "day_evaluations": day_evaluations,
        "kept_bytes": kept_bytes,
        "uploads": uploads,
        "high_priority": high_priority,
    }


def _print_key(key: dict[str, Any]) -> None:
    validity = f"revoked {_date(key['revoked'])}" if key["revoked"] else "valid"
    typer.echo(f"{key['id']}  {_date(key['created'])}  {validity:<18}  {key['name']}")
    role = f"{key['role']} of {key['reads']}" if key["reads"] else key["role"]
    expires = "does not expire"
    if key["expires"] is not None:
        expires = f"{'expires' if key['expires'] > time.time() else 'expired'} {_time(key['expires'])}"
    used = "never used" if key["last_used"] is None else f"last used {_time(key['last_used'])}"
    typer.echo(f"    {role}, {expires}, {used}")
    limits = {**key["in_force"], "high_priority": {"value": "yes" if key["high_priority"] else "no", "used": None}}
    parts = []
    for name, state in limits.items():
        used = "" if state["used"] is None else f"{state['used']} of "
        parts.append(f"{name} {used}{state['value']}{'*' if name in key['limits'] else ''}")
    typer.echo("    " + ", ".join(parts))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
