"""Checkpoints on disk: a manifest and two safetensors files, written whole and verified when opened."""

import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.build import Networks, build_networks
from weather.errors import CheckpointError
from weather.manifest import (
    FLOW_FILE,
    MANIFEST_NAME,
    WARM_START_FILE,
    Manifest,
    Provenance,
    Sampling,
    file_digest,
    read_manifest,
)

_STATIC = "static."


def save_checkpoint(
    folder: Path, name: str, networks: Networks, sampling: Sampling, provenance: Provenance
) -> Manifest:
    """Write a checkpoint and return its manifest; the manifest is written last, so a torn one has none."""
    folder.mkdir(parents=True, exist_ok=True)
    static = networks.context.static
    fields = {f"{_STATIC}{field}": static[i].clone() for i, field in enumerate(networks.spec.static_fields)}
    contents = {WARM_START_FILE: _weights(networks.warm_start) | fields, FLOW_FILE: _weights(networks.flow)}
    for file, tensors in contents.items():
        partial = folder / f"{file}.partial"
        save_file(tensors, partial)
        os.replace(partial, folder / file)
    files = {file: file_digest(folder / file) for file in contents}
    manifest = Manifest(name=name, model=networks.spec, sampling=sampling, provenance=provenance, files=files)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".partial", delete=False) as text:
        text.write(manifest.to_json())
    Path(text.name).chmod(0o644)
    os.replace(text.name, folder / MANIFEST_NAME)
    return manifest


def load_checkpoint(folder: Path, device: torch.device) -> tuple[Networks, Manifest]:
    """Return a checkpoint's networks in evaluation mode on `device`, and its manifest.

    Raises `CheckpointError` where a file is missing, its digest differs, or its tensors do not fit the manifest.
    """
    manifest = read_manifest(folder)
    warm_start = _verified(folder, WARM_START_FILE, manifest)
    flow = _verified(folder, FLOW_FILE, manifest)
    spec = manifest.model
    fields = {name: warm_start.pop(f"{_STATIC}{name}", None) for name in spec.static_fields}
    for name, field in fields.items():
        if field is None or tuple(field.shape) != spec.grid.grid.shape:
            got = "none" if field is None else tuple(field.shape)
            raise CheckpointError(
                f"`{folder / WARM_START_FILE}` must hold the static field `{name}` of shape {spec.grid.grid.shape}. "
                f"Got: {got}."
            )
    stacked = [field for field in fields.values() if field is not None]
    static = torch.stack(stacked) if stacked else torch.zeros(0, *spec.grid.grid.shape)
    try:
        networks = build_networks(spec, static)
    except ValueError as error:
        raise CheckpointError(f"`{folder / MANIFEST_NAME}` describes no possible network: {error}") from error
    _fill(networks.warm_start, warm_start, folder / WARM_START_FILE)
    _fill(networks.flow, flow, folder / FLOW_FILE)
    return networks.to(device).eval(), manifest


def _weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().contiguous() for name, weight in net.state_dict().items()}


def _verified(folder: Path, file: str, manifest: Manifest) -> dict[str, Tensor]:
    path = folder / file
    if file not in manifest.files:
        raise CheckpointError(f"`{folder / MANIFEST_NAME}` must list `{file}`. Got: {', '.join(manifest.files)}.")
    if not path.is_file():
        raise CheckpointError(f"`{folder}` lacks `{file}`, which its manifest lists.")
    digest = file_digest(path)
    if digest != manifest.files[file]:
        raise CheckpointError(
            f"`{path}` is damaged: expected SHA-256 {manifest.files[file]}. Got: {digest}. Copy the checkpoint again."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"`{path}` is no safetensors file: {error}.") from error


def _fill(net: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    expected = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
    got = {name: tuple(weight.shape) for name, weight in weights.items()}
    if expected != got:
        different = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
        name = different[0]
        raise CheckpointError(
            f"`{path}` does not fit the manifest's architecture in {len(different)} tensors. The first is `{name}`: "
            f"expected {expected.get(name, 'none')}. Got: {got.get(name, 'none')}."
        )
    net.load_state_dict(weights)
