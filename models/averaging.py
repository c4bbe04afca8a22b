"""`warmcast checkpoint average`: a checkpoint whose weights lie between those of two stages of one training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.checkpoint import load_checkpoint, save_checkpoint
from storage.errors import ConfigurationError
from weather.bundled import find_checkpoint
from weather.manifest import FITTED, MANIFEST_NAME, Manifest

_CPU = torch.device("cpu")


def average_checkpoints(
    *, checkpoint: str, other: str, checkpoint_folders: Sequence[Path], output: Path, share: float
) -> dict[str, Any]:
    """Write a checkpoint with the weights (1−share)·a + share·b of two checkpoints to the new folder `output`.

    All else is that of b, which was trained further from a, without its colour and damping, which fit its weights
    alone: this is the weight averaging of Wortsman et al. (2022, "Model soups") along one training. Raises
    `ConfigurationError` if the two are different models, or if `output` is a checkpoint.
    """
    if (output / MANIFEST_NAME).exists():
        raise ConfigurationError(f"`output` must be a new folder. Got one with a checkpoint: {output}.")
    first, manifest = load_checkpoint(find_checkpoint(checkpoint, checkpoint_folders), _CPU)
    second, further = load_checkpoint(find_checkpoint(other, checkpoint_folders), _CPU)
    different = _list_differences(manifest, further)
    if different:
        raise ConfigurationError(
            f"Both checkpoints must be the same model, but for their weights. `{manifest.name}` and `{further.name}` "
            f"have another {', '.join(different)}."
        )
    _interpolate(second.warm_start, first.warm_start, share)
    _interpolate(second.flow, first.flow, share)
    output.mkdir(parents=True, exist_ok=True)
    second = replace(second, spec=second.spec.without_fits())
    written = save_checkpoint(output, further.name, second, further.sampling, further.provenance, further.noise)
    return {"checkpoint": str(output), "name": written.name, "share": share, "digest": written.digest}


def _list_differences(manifest: Manifest, other: Manifest) -> list[str]:
    """Return the fields in which two models differ, without the extremes of their training years, and their fits."""
    mine, its = (each.model.model_dump(exclude={"extremes", *FITTED}) for each in (manifest, other))
    return [name for name, value in mine.items() if value != its[name]]


@torch.no_grad()
def _interpolate(net: nn.Module, other: nn.Module, share: float) -> None:
    """Change the weights of `net` to (1−share)·other + share·net."""
    for weight, start in zip(net.parameters(), other.parameters(), strict=True):
        weight.lerp_(start, 1 - share)
