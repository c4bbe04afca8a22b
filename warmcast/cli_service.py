"""The commands that run a service: `warmcast serve`, `api`, `openapi`, `worker` and `key create`, `list`, `revoke`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

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
DataFolder = Annotated[
    Path | None, typer.Option(help="Folder of the service's data; by default the setting WARMCAST_DATA.")
]

keys = typer.Typer(help="API keys; a key gives access to the forecasts submitted with it.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (serve, api, openapi, worker):
        app.command()(command)
    keys.command()(create)
    keys.command("list")(list_)
    keys.command()(revoke)
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


def create(
    name: Annotated[str, typer.Argument(help="Name of the key, such as its holder.")],
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Create an API key and print its secret, which cannot be printed again."""
    with exit_codes():
        key = run("key create", name=name, data=data)
    if json:
        print_json(key)
        return
    typer.echo(key["secret"])
    print_line(f"The id of the key is {key['id']}. Save the secret: it cannot be printed again.")
    print_line("From now on the service refuses every request without a key.")


def list_(data: DataFolder = None, json: Json = False) -> None:
    """List the API keys, without their secrets."""
    with exit_codes():
        receipt = run("key list", data=data)
    if json:
        print_json(receipt)
        return
    for key in receipt["keys"]:
        validity = f"revoked {_date(key['revoked'])}" if key["revoked"] else "valid"
        typer.echo(f"{key['id']}  {_date(key['created'])}  {validity:<18}  {key['name']}")


def revoke(key_id: Annotated[str, typer.Argument(help="Id of the key.")], data: DataFolder = None) -> None:
    """Revoke an API key: requests with it are refused from now on; its forecasts are kept."""
    with exit_codes():
        run("key revoke", key_id=key_id, data=data)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
