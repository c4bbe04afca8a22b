"""The commands that run a service: `warmcast serve`, `api`, `worker`, `key create | list | revoke`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, line, print_json

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]
Host = Annotated[str, typer.Option(help="Address to listen on; beyond this machine every caller needs an API key.")]
MetricsPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port for /metrics, which is at the other port on loopback only.")
]
DataFolder = Annotated[Path | None, typer.Option(help="Folder of forecasts; WARMCAST_DATA by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]

keys = typer.Typer(help="API keys: whoever holds one sees the forecasts asked for with it.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(api)
    app.command()(worker)
    keys.command()(create)
    keys.command("list")(list_)
    keys.command()(revoke)
    app.add_typer(keys, name="key")


def serve(
    port: Port = 8000, host: Host = "127.0.0.1", metrics_port: MetricsPort = None, data: DataFolder = None
) -> None:
    """Serve forecasts over HTTP, with one worker beside; nothing else has to be installed or started."""
    with exit_codes():
        run("serve", host=host, port=port, metrics_port=metrics_port, data=data, tell=line)


def api(port: Port = 8000, host: Host = "127.0.0.1", metrics_port: MetricsPort = None, data: DataFolder = None) -> None:
    """Serve forecasts over HTTP; the work is done by `warmcast worker` elsewhere."""
    with exit_codes():
        run("api", host=host, port=port, metrics_port=metrics_port, data=data, tell=line)


def worker(data: DataFolder = None) -> None:
    """Work for a service: take forecasts that wait and compute them."""
    with exit_codes():
        run("worker", data=data)


def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")], data: DataFolder = None, json: Json = False
) -> None:
    """Make a key and print it, this once."""
    with exit_codes():
        key = run("key create", name=name, data=data)
    if json:
        print_json(key)
        return
    typer.echo(key["secret"])
    typer.echo(
        f"Its id is {key['id']}. Keep it: it is not shown again. From now on nobody is served without a key.", err=True
    )


def list_(data: DataFolder = None, json: Json = False) -> None:
    """List the keys, without their secrets."""
    with exit_codes():
        shown = run("key list", data=data)
    if json:
        print_json(shown)
        return
    for key in shown["keys"]:
        told = f"revoked {_day(key['revoked'])}" if key["revoked"] else "valid"
        typer.echo(f"{key['id']}  {_day(key['created'])}  {told:<18}  {key['name']}")


def revoke(key_id: Annotated[str, typer.Argument(help="Id of a key.")], data: DataFolder = None) -> None:
    """Let a key open nothing from now on; its forecasts stay."""
    with exit_codes():
        run("key revoke", key_id=key_id, data=data)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
