"""The commands `warmcast checkpoint …`: show checkpoints, check them, and move them between machines."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, folders, format_years, print_json, print_warning
from warmcast.options import DEFAULT_CHECKPOINT, Checkpoints, Json, TrainingData

Name = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Name or folder of the checkpoint.")]

_DAMAGED = 1
_NETWORKS = {"warm_start": "warm start", "flow": "flow"}

checkpoint = typer.Typer(
    help="Checkpoints: what they hold, whether they are whole, and how they reach other machines.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (inspect, verify, export, average, extremes):
        checkpoint.command()(command)
    checkpoint.command("import")(import_archive)
    app.add_typer(checkpoint, name="checkpoint")


def inspect(name: Name = DEFAULT_CHECKPOINT, checkpoints: Checkpoints = "", json: Json = False) -> None:
    """Show what a checkpoint forecasts, how its networks are built, and from what they were trained."""
    with exit_codes():
        report = run("checkpoint inspect", checkpoint=name, checkpoint_folders=folders(checkpoints))
    if json:
        print_json(report)
        return
    for label, value in _describe(report):
        typer.echo(f"{label:<20}{value}")


def verify(name: Name = DEFAULT_CHECKPOINT, checkpoints: Checkpoints = "", json: Json = False) -> None:
    """Check that a checkpoint is whole and forecasts on this machine; it needs PyTorch.

    The files must be those of the manifest, the tensors fit it, one time step be finite and reproducible, and the
    extremes of the training years be there. The exit code is 1 if a check fails.
    """
    with exit_codes():
        report = run("checkpoint verify", checkpoint=name, checkpoint_folders=folders(checkpoints))
    if json:
        print_json(report)
    else:
        for check in report["checks"]:
            typer.echo(f"[{'FAILED' if check['problems'] else 'ok'}] {check['name']}: {check['found']}")
            for problem in check["problems"]:
                typer.echo(f"  {problem}")
    if not report["is_well"]:
        raise typer.Exit(_DAMAGED)


def export(
    name: Name,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Archive (.zip) or new folder to write; an archive is replaced.")
    ],
    license_file: Annotated[
        Path | None,
        typer.Option("--license", help="Text file with the licence of the weights; by default the checkpoint's own."),
    ] = None,
    checkpoints: Checkpoints = "",
    json: Json = False,
) -> None:
    """Write a checkpoint with its model card and licence to an archive or a folder, for other machines.

    A checkpoint that is damaged or cannot forecast is refused. Equal checkpoints give archives of equal bytes.
    """
    options = {"checkpoint_folders": folders(checkpoints), "output": output, "license_file": license_file}
    with exit_codes():
        receipt = run("checkpoint export", checkpoint=name, **options)
    if not receipt["license"]:
        print_warning("The checkpoint states no licence. Pass --license FILE if others are to use it.")
    if json:
        print_json(receipt)
        return
    typer.echo(f"{receipt['output']}: {receipt['name']}, SHA-256 {receipt['digest']}")


def import_archive(
    archive: Annotated[Path, typer.Argument(help="Archive that `warmcast checkpoint export` wrote.")],
    into: Annotated[
        Path, typer.Option("--into", help="Folder of checkpoints, such as one that WARMCAST_CHECKPOINTS names.")
    ],
    json: Json = False,
) -> None:
    """Unpack a checkpoint into a folder of checkpoints, and check its files; nothing remains of a damaged one."""
    with exit_codes():
        receipt = run("checkpoint import", archive=archive, into=into)
    if json:
        print_json(receipt)
        return
    typer.echo(f"{receipt['checkpoint']}: SHA-256 {receipt['digest']}")


def average(
    name: Name,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Checkpoint that was trained further from the first.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the checkpoint.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the weights of OTHER.")] = 0.5,
    checkpoints: Checkpoints = "",
    json: Json = False,
) -> None:
    """Average the weights of two stages of one training.

    The mean of two stages often forecasts better than both. All but the weights is that of OTHER, without the colour of
    the noise and the damping, which fit its weights alone; calibrate the result. A card is not copied, because its
    scores are those of other weights.
    """
    options = {"checkpoint_folders": folders(checkpoints), "output": output, "share": share}
    with exit_codes():
        receipt = run("checkpoint average", checkpoint=name, other=other, **options)
    if json:
        print_json(receipt)
        return
    typer.echo(f"{receipt['checkpoint']}: SHA-256 {receipt['digest']}")


def extremes(name: Name, data: TrainingData, checkpoints: Checkpoints = "", json: Json = False) -> None:
    """Compute the extremes of a checkpoint's training years, which initial states are then compared with.

    `warmcast train` does this too: the command is for checkpoints of older versions. It changes the manifest.
    """
    with exit_codes():
        receipt = run("checkpoint extremes", checkpoint=name, checkpoint_folders=folders(checkpoints), data=data)
    if json:
        print_json(receipt)
        return
    years = format_years(receipt["years"])
    typer.echo(
        f"{receipt['checkpoint']}: extremes of {receipt['frames']} frames of {years}. SHA-256 {receipt['digest']}"
    )


def _describe(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield label and value of each line."""
    grid, sampling, provenance = report["grid"], report["sampling"], report["provenance"]
    yield "name", report["name"]
    yield "folder", f"{report['folder']} ({report['size_bytes'] / 1e6:.1f} MB)"
    yield "SHA-256", report["digest"]
    for variable in report["variables"]:
        mean, std = (f"{variable[key]:.6g}" for key in ("mean", "std"))
        yield variable["name"], f"{variable['long_name']}, {variable['units']}: mean {mean}, standard deviation {std}"
    poles = "with poles" if grid["has_poles"] else "without poles"
    yield "grid", f"{grid['latitudes']} × {grid['longitudes']} ({poles}), {grid['longitude_step']:g}° of longitude"
    yield "time step", f"{report['time_step_hours']} h, from {report['context_frames']} frames"
    yield "static fields", ", ".join(report["static_fields"]) or "none"
    yield "features", ", ".join(report["features"]) or "none"
    for network in report["networks"]:
        yield _NETWORKS[network["name"]], _describe_network(network)
    yield "preconditioning", report["preconditioning"]
    yield "sampling", f"{sampling['solver']}, NFE {sampling['nfe']}, warmth {sampling['warmth']:g}"
    yield "noise", report["noise"]["summary"]
    for part in ("colour", "damping"):
        if report[part] is not None:
            yield part, report[part]["summary"]
    yield "data", provenance["data"]
    yield "attribution", provenance["attribution"]
    yield "training years", format_years(provenance["train_years"])
    yield "validation years", format_years(provenance["validation_years"])
    steps = f"{provenance['warm_start_steps']:,} steps of the warm start, {provenance['flow_steps']:,} of the flow"
    yield "training", f"{steps}, {provenance['training_hours']:g} h, Warmcast {provenance['code_version']}"
    for kept in provenance.get("selections", ()):
        yield "kept weights", f"{kept['stage']}: after step {kept['step']:,}, {kept['score']} {kept['value']:.4g}"
    if start := provenance.get("started_from"):
        yield "started from", f"{start['name']}, SHA-256 {start['digest']}: {start['data']}"
        yield "its training years", format_years(start["train_years"])
        yield "its attribution", start["attribution"]
    extremes = report["extremes"]
    yield "extremes", f"of {extremes['num_frames']} frames" if extremes else "none"
    yield "licence", report["license"] or "none stated"
    for file in report["files"]:
        yield "file", f"{file['name']}, {file['size_bytes'] / 1e6:.3f} MB"


def _describe_network(network: Mapping[str, Any]) -> str:
    count = network["parameters"]
    parameters = "weights missing or damaged" if count is None else f"{count:,} parameters"
    options = ", ".join(f"{key} {value}" for key, value in network.items() if key not in {"name", "parameters"})
    return f"{parameters} ({options})"
