from pathlib import Path

import pytest
import torch

from models.averaging import average_checkpoints
from models.checkpoint import load_checkpoint, save_checkpoint
from models.networks import Networks
from models.testing import tiny_networks, tiny_spec, write_tiny_checkpoint
from storage.errors import ConfigurationError
from weather.damping_spec import DampingSpec
from weather.manifest import MANIFEST_NAME, ModelSpec, NoiseSpec, Sampling
from weather.noise_colour import NoiseColour

CPU = torch.device("cpu")


def _write(folder: Path, seed: int, spec: ModelSpec | None = None) -> Networks:
    """Write a tiny checkpoint named after its folder, and return its networks."""
    provenance = write_tiny_checkpoint(folder).provenance
    networks, noise = tiny_networks(spec or tiny_spec(), seed=seed), NoiseSpec(correlation=seed / 10)
    save_checkpoint(folder, folder.name, networks, Sampling(solver="single", nfe=1), provenance, noise)
    return networks


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_weights_lie_between_and_all_else_is_that_of_the_further_one(tmp_path: Path, share: float) -> None:
    gains = ((0.9,) * (tiny_spec().grid.grid.highest_wavenumber + 1),) * 2
    fits = {"colour": NoiseColour(gains=gains), "damping": DampingSpec(gains=gains)}
    first, second = _write(tmp_path / "a", 1), _write(tmp_path / "b", 2, tiny_spec().model_copy(update=fits))
    receipt = average_checkpoints(
        checkpoint=str(tmp_path / "a"),
        other=str(tmp_path / "b"),
        checkpoint_folders=(),
        output=tmp_path / "c",
        share=share,
    )
    networks, manifest = load_checkpoint(tmp_path / "c", CPU)
    assert (manifest.name, manifest.digest, manifest.noise.correlation) == ("b", receipt["digest"], 0.2)
    assert (networks.spec, manifest.model.colour, manifest.model.damping) == (tiny_spec(), None, None)
    for net in ("warm_start", "flow"):
        triples = zip(*(getattr(found, net).parameters() for found in (first, second, networks)), strict=True)
        for start, end, found in triples:
            torch.testing.assert_close(found, (1 - share) * start + share * end)


def test_other_models_and_used_folders_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "a", 1)
    _write(tmp_path / "b", 2, tiny_spec(num_lat=24))
    options = {"checkpoint": str(tmp_path / "a"), "checkpoint_folders": (), "share": 0.5}
    with pytest.raises(ConfigurationError, match="`a` and `b` have another grid"):
        average_checkpoints(other=str(tmp_path / "b"), output=tmp_path / "c", **options)
    assert not (tmp_path / "c").exists()
    before = (tmp_path / "b" / MANIFEST_NAME).read_bytes()
    with pytest.raises(ConfigurationError, match="`output` must be a new folder"):
        average_checkpoints(other=str(tmp_path / "a"), output=tmp_path / "b", **options)
    assert (tmp_path / "b" / MANIFEST_NAME).read_bytes() == before
