"""What `warmcast train --dry-run` prints: parameters, memory, speed, hours and price of a training."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from warmcast.console import plural

_WIDTH = 110
_MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "moments": "moments of AdamW",
    "averages": "averaged weights",
    "activations": "activations",
    "operation": "largest operation",
    "outputs": "outputs of h",
    "record": "frames",
    "total": "total",
}


def print_estimate(estimate: Mapping[str, Any]) -> None:
    """Print the receipt of a dry run as a table of its stages, the total and the formulas."""
    samples, parameters, total, gpu = (estimate[name] for name in ("samples", "parameters", "total", "gpu"))
    typer.echo(
        f"{estimate['config']}: one step of each stage on {estimate['device']}, {estimate['precision']}, grid "
        f"{estimate['grid']}"
    )
    typer.echo(f"Samples: {samples['train']:,} for training, {samples['validation']:,} for validation")
    typer.echo(f"Parameters: h {parameters['warm_start'] / 1e6:.2f} M, p' {parameters['flow'] / 1e6:.2f} M")
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("", *(stage["stage"] for stage in estimate["stages"])):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for label, values in _rows(estimate):
        table.add_row(label, *values)
    Console(width=_WIDTH, highlight=False).print(table)
    verdict = "fits into" if total["fits"] else "does NOT fit into"
    typer.echo(f"Memory: {total['memory_bytes'] / 1e9:.1f} GB, which {verdict} {gpu['memory_bytes'] / 1e9:.0f} GB.")
    typer.echo(f"Hours on this device: {total['measured_hours']:,.1f}")
    typer.echo(
        f"Hours on {plural(total['gpus'], 'GPU')} ({gpu['name']}): {total['gpu_hours']:,.1f}, cost "
        f"{total['cost']:,.0f} at {gpu['price_per_hour']:g} an hour"
    )
    for formula in estimate["formulas"]:
        typer.echo(textwrap.fill(formula, _WIDTH, initial_indent="- ", subsequent_indent="  "))


def _gigabytes(name: str, stage: Mapping[str, Any]) -> str:
    return f"{stage['memory'][name] / 1e9:,.2f}"


def _rows(estimate: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield label and value of each stage, line by line."""
    stages, gpu = estimate["stages"], estimate["gpu"]

    def line(label: str, value: Callable[[Mapping[str, Any]], str]) -> tuple[str, list[str]]:
        return label, [value(stage) for stage in stages]

    yield line("steps", lambda stage: f"{stage['steps']:,}")
    yield line("samples of a step", lambda stage: f"{stage['batch_size']:,}")
    yield line("  taken at once", lambda stage: f"{stage['samples_at_once']:,}")
    yield line("of each sample: GFLOP", lambda stage: f"{stage['per_sample']['flops'] / 1e9:,.1f}")
    yield line("  GB moved", lambda stage: f"{stage['per_sample']['moved_bytes'] / 1e9:,.3f}")
    yield line("  GB of activations", lambda stage: f"{stage['per_sample']['saved_bytes'] / 1e9:,.3f}")
    yield "memory of a GPU in GB", [""] * len(stages)
    for name, label in _MEMORY.items():
        yield line(f"  {label}", partial(_gigabytes, name))
    yield from _speeds(stages, f"on this device ({estimate['device']})", "measured")
    peak = f"{gpu['peak_flops'] / 1e12:g} TFLOP/s, {gpu['bytes_per_second'] / 1e12:g} TB/s"
    gpus = plural(estimate["processes"], "GPU")
    yield from _speeds(stages, f"on {gpus} ({gpu['name']}), {gpu['share']:.0%} of {peak}", "gpu")


def _speeds(stages: Sequence[Mapping[str, Any]], title: str, prefix: str) -> Iterator[tuple[str, list[str]]]:
    yield title, [""] * len(stages)
    yield "  samples a second", [_format_rate(stage[f"{prefix}_samples_per_second"]) for stage in stages]
    yield "  hours", [f"{stage[f'{prefix}_hours']:,.1f}" for stage in stages]


def _format_rate(rate: float) -> str:
    """Return a rate with three digits, and never with an exponent."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
