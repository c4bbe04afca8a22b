"""Small networks, checkpoints and vector fields for tests, of this project and of others."""

from pathlib import Path

import numpy as np
import torch

from models.checkpoint import save_checkpoint
from models.networks import Networks, build_networks
from models.shapes import Fields
from weather.manifest import WHITE, GridSpec, Manifest, ModelSpec, NoiseSpec, Normalisation, Provenance, Sampling
from weather.network_specs import NetworkSpec, PaperFlowSpec, PaperWarmStartSpec, UNetSpec


class GaussianField:
    """The exact vector field of a target N(0, std²) of independent elements; counts evaluations in `nfe`.

    v = x·(t·std² − (1−t)) / (t²·std² + (1−t)²). Source: docs/method.md §3.
    """

    def __init__(self, std: float) -> None:
        self._variance = std**2
        self.nfe = 0

    def __call__(self, x_t: Fields, t: float) -> Fields:
        """Return the velocity at `x_t` and flow time `t`."""
        self.nfe += 1
        return x_t * (t * self._variance - (1 - t)) / (t**2 * self._variance + (1 - t) ** 2)


def tiny_spec(
    num_lat: int = 16,
    num_lon: int = 32,
    *,
    has_poles: bool = False,
    context_frames: int = 2,
    time_step_hours: int = 6,
    paper: bool = False,
) -> ModelSpec:
    """Return the specification of a wind model on a coarse grid, with one static field and networks of stride 4 or 2.

    With `paper` the networks are small ones of the paper's kinds.
    """
    edge = 90.0 if has_poles else 90.0 - 90.0 / num_lat
    warm_start: NetworkSpec = UNetSpec(widths=(8, 16), blocks=1, head_channels=4)
    flow: NetworkSpec = UNetSpec(widths=(8, 16), blocks=1, head_channels=4, embedding_width=16)
    if paper:
        warm_start = PaperWarmStartSpec(kind="paper_warm_start", widths=(8, 16), blocks=1, norm_groups=4)
        flow = PaperFlowSpec(kind="paper_flow", widths=(8, 16), blocks=1, norm_groups=4, embedding_width=16)
    return ModelSpec(
        grid=GridSpec(
            latitude=tuple(np.linspace(edge, -edge, num_lat).tolist()),
            longitude=tuple((np.arange(num_lon) * 360.0 / num_lon).tolist()),
        ),
        variables=(Normalisation(name="u10", mean=0.0, std=6.0), Normalisation(name="v10", mean=0.0, std=5.0)),
        static_fields=("orography",),
        features=("sin_latitude", "season_sin", "season_cos"),
        time_step_hours=time_step_hours,
        context_frames=context_frames,
        warm_start=warm_start,
        flow=flow,
    )


def tiny_networks(spec: ModelSpec, *, trained: bool = True, seed: int = 0) -> Networks:
    """Return small networks on the CPU; if `trained`, no layer is zero, so that each one affects the output."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        networks = build_networks(spec, torch.randn(len(spec.static_fields), *spec.grid.grid.shape))
        for net in (networks.warm_start, networks.flow) if trained else ():
            for weight in net.parameters():
                weight.add_(0.02 * torch.randn(weight.shape))
    return networks.eval()


def write_tiny_checkpoint(
    folder: Path,
    *,
    name: str = "tiny",
    trained: bool = True,
    spec: ModelSpec | None = None,
    noise: NoiseSpec = WHITE,
) -> Manifest:
    """Write a checkpoint of small networks, of `tiny_spec` unless a `spec` is given, and return its manifest."""
    provenance = Provenance(
        data="random numbers",
        attribution="Not trained.",
        train_years=(2000,),
        validation_years=(2001,),
        code_version="0",
        warm_start_steps=0,
        flow_steps=0,
        training_hours=0.0,
    )
    networks = tiny_networks(spec or tiny_spec(), trained=trained)
    return save_checkpoint(folder, name, networks, Sampling(solver="midpoint", nfe=4), provenance, noise)
