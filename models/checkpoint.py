"""Checkpoints on disk: two safetensors files and a manifest with their SHA-256."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.networks import Networks, build_networks
from models.shapes import StaticFields
from storage.atomic import replace_file, write_text
from weather.checkpoint_files import find_file_problems
from weather.errors import CheckpointError
from weather.manifest import (
    FLOW_FILE,
    MANIFEST_NAME,
    WARM_START_FILE,
    WHITE,
    Manifest,
    ModelSpec,
    NoiseSpec,
    Provenance,
    Sampling,
    file_digest,
    read_manifest,
)

_STATIC = "static."


def save_checkpoint(
    folder: Path,
    name: str,
    networks: Networks,
    sampling: Sampling,
    provenance: Provenance,
    noise: NoiseSpec = WHITE,
) -> Manifest:
    """Write a checkpoint into `folder` and return its manifest.

    The manifest is written last, so that `load_checkpoint` refuses the folder of an interrupted call.
    """
    static = networks.context.static
    fields = {f"{_STATIC}{field}": static[i].clone() for i, field in enumerate(networks.spec.static_fields)}
    contents = {WARM_START_FILE: _copy_weights(networks.warm_start) | fields, FLOW_FILE: _copy_weights(networks.flow)}
    for file, tensors in contents.items():
        with replace_file(folder / file) as partial:
            save_file(tensors, partial)
    files = {file: file_digest(folder / file) for file in contents}
    manifest = Manifest(
        name=name, model=networks.spec, sampling=sampling, noise=noise, provenance=provenance, files=files
    )
    write_text(folder / MANIFEST_NAME, manifest.to_json())
    return manifest


def load_checkpoint(folder: Path, device: torch.device) -> tuple[Networks, Manifest]:
    """Return a checkpoint's networks in evaluation mode on `device`, and its manifest.

    Raises `CheckpointError`, which names every file that is missing, whose digest differs, or whose tensors do not fit
    the manifest.
    """
    manifest = read_manifest(folder)
    problems = [problem for _, problem in find_file_problems(folder, manifest)]
    if problems:
        raise CheckpointError(" ".join(problems))
    warm_start, flow = _load_tensors(folder / WARM_START_FILE), _load_tensors(folder / FLOW_FILE)
    static = _pop_static_fields(warm_start, manifest.model, folder / WARM_START_FILE)
    try:
        networks = build_networks(manifest.model, static)
    except ValueError as error:
        raise CheckpointError(f"`{folder / MANIFEST_NAME}` describes networks that cannot be built: {error}") from error
    problems = [
        *_load_weights(networks.warm_start, warm_start, folder / WARM_START_FILE),
        *_load_weights(networks.flow, flow, folder / FLOW_FILE),
    ]
    if problems:
        raise CheckpointError(" ".join(problems))
    return networks.to(device).eval(), manifest


def load_static_fields(folder: Path, manifest: Manifest) -> StaticFields:
    """Return a checkpoint's normalised static fields, on the CPU; raises `CheckpointError` if its file lacks them."""
    return _pop_static_fields(_load_tensors(folder / WARM_START_FILE), manifest.model, folder / WARM_START_FILE)


def _copy_weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().contiguous() for name, weight in net.state_dict().items()}


def _load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"`{path}` is not a safetensors file: {error}.") from error


def _pop_static_fields(tensors: dict[str, Tensor], spec: ModelSpec, path: Path) -> StaticFields:
    """Remove the static fields of `spec` from `tensors`, which were read from `path`, and return them stacked.

    Raises `CheckpointError` if one is missing or has another shape.
    """
    shape = spec.grid.grid.shape
    fields = []
    for name in spec.static_fields:
        field = tensors.pop(f"{_STATIC}{name}", None)
        if field is None or tuple(field.shape) != shape:
            got = "none" if field is None else tuple(field.shape)
            raise CheckpointError(f"`{path}` must hold the static field `{name}` of shape {shape}. Got: {got}.")
        fields.append(field)
    return torch.stack(fields) if fields else torch.zeros(0, *shape)


def _load_weights(net: nn.Module, weights: dict[str, Tensor], path: Path) -> list[str]:
    """Copy the tensors `weights`, read from `path`, into `net`; return the problem if names or shapes differ."""
    expected = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
    got = {name: tuple(weight.shape) for name, weight in weights.items()}
    if expected != got:
        different = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
        name = different[0]
        first = f"The first is `{name}`: expected {expected.get(name, 'none')}. Got: {got.get(name, 'none')}."
        return [f"`{path}` does not fit the manifest's architecture in {len(different)} tensors. {first}"]
    net.load_state_dict(weights)
    return []
