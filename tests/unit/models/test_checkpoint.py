import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.checkpoint import load_checkpoint, save_checkpoint
from models.testing import tiny_networks, tiny_spec, write_tiny_checkpoint
from weather.errors import CheckpointError
from weather.manifest import FLOW_FILE, MANIFEST_NAME, WARM_START_FILE, file_digest

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_checkpoint(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize(("frames", "paper"), [(2, False), (3, True)])
def test_loading_returns_the_networks_that_were_saved(tmp_path: Path, frames: int, paper: bool) -> None:
    spec = tiny_spec(context_frames=frames, paper=paper)
    write_tiny_checkpoint(tmp_path, spec=spec)
    written = tiny_networks(spec)
    networks, manifest = load_checkpoint(tmp_path, CPU)
    assert networks.spec == manifest.model == written.spec
    assert torch.equal(networks.context.static, written.context.static)
    for net, other in ((networks.warm_start, written.warm_start), (networks.flow, written.flow)):
        assert not net.training
        for name, weight in net.state_dict().items():
            assert torch.equal(weight, other.state_dict()[name])


def test_a_checkpoint_consists_of_two_weight_files_and_a_manifest(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {WARM_START_FILE, FLOW_FILE, MANIFEST_NAME}


@pytest.mark.parametrize("file", [WARM_START_FILE, FLOW_FILE])
@pytest.mark.parametrize("position", [20, -1])
def test_a_changed_byte_is_detected(folder: Path, file: str, position: int) -> None:
    content = bytearray((folder / file).read_bytes())
    content[position] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{file}` is damaged: expected SHA-256 \w{{64}}\. Got: \w{{64}}"):
        load_checkpoint(folder, CPU)


@pytest.mark.parametrize("file", [WARM_START_FILE, FLOW_FILE])
def test_a_missing_weight_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=f"lacks `{file}`"):
        load_checkpoint(folder, CPU)


def test_weights_of_another_architecture_are_refused_naming_the_first_tensor(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["model"]["flow"]["widths"] = [8, 24]
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"does not fit .* The first is `net\..*`: expected \(.*\)\. Got: \("):
        load_checkpoint(folder, CPU)


def test_a_grid_that_the_networks_cannot_process_is_refused(folder: Path, tmp_path: Path) -> None:
    spec = tiny_spec().model_dump()
    spec["flow"]["widths"] = [8, 16, 16, 16, 16, 16, 16]
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["model"]["flow"] = spec["flow"] | {"widths": list(spec["flow"]["widths"])}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="describes networks that cannot be built: The number of longitudes"):
        load_checkpoint(folder, CPU)


def test_the_weights_of_the_other_network_are_refused(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    content = (folder / WARM_START_FILE).read_bytes()
    (folder / FLOW_FILE).write_bytes(content)
    manifest["files"][FLOW_FILE] = file_digest(folder / FLOW_FILE)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"flow\.safetensors` does not fit"):
        load_checkpoint(folder, CPU)


def test_pickled_weights_are_refused_without_unpickling(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / FLOW_FILE)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["files"][FLOW_FILE] = file_digest(folder / FLOW_FILE)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_checkpoint(folder, CPU)


def test_saving_again_replaces_the_checkpoint(folder: Path) -> None:
    _, before = load_checkpoint(folder, CPU)
    networks = tiny_networks(tiny_spec(), seed=1)
    save_checkpoint(folder, "other", networks, before.sampling, before.provenance)
    loaded, after = load_checkpoint(folder, CPU)
    assert after.name == "other"
    assert after.digest != before.digest
    assert torch.equal(loaded.context.static, networks.context.static)


def test_the_same_networks_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "again")
    for file in (WARM_START_FILE, FLOW_FILE, MANIFEST_NAME):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()


def test_a_checkpoint_whose_manifest_was_not_written_yet_is_refused(folder: Path) -> None:
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no manifest\.json"):
        load_checkpoint(folder, CPU)


def test_an_interrupted_replacement_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends when the weight files are replaced and the manifest is not."""

    def write_text(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    _, before = load_checkpoint(folder, CPU)
    monkeypatch.setattr("models.checkpoint.write_text", write_text)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, "tiny", tiny_networks(tiny_spec(), seed=1), before.sampling, before.provenance)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(folder, CPU)


def _rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Replace the warm start's file and its digest in the manifest."""
    save_file(tensors, folder / WARM_START_FILE)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["files"][WARM_START_FILE] = file_digest(folder / WARM_START_FILE)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


def test_a_missing_static_field_is_named(folder: Path) -> None:
    tensors = load_file(folder / WARM_START_FILE)
    del tensors["static.orography"]
    _rewrite(folder, tensors)
    with pytest.raises(
        CheckpointError, match=r"must hold the static field `orography` of shape \(16, 32\)\. Got: none"
    ):
        load_checkpoint(folder, CPU)


def test_a_static_field_of_another_grid_is_refused_with_its_shape(folder: Path) -> None:
    _rewrite(folder, load_file(folder / WARM_START_FILE) | {"static.orography": torch.zeros(8, 16)})
    with pytest.raises(CheckpointError, match=r"Got: \(8, 16\)"):
        load_checkpoint(folder, CPU)


def test_a_tensor_that_the_architecture_lacks_is_named(folder: Path) -> None:
    _rewrite(folder, load_file(folder / WARM_START_FILE) | {"extra.weight": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"in 1 tensors\. .* `extra\.weight`: expected none\. Got: \(3,\)"):
        load_checkpoint(folder, CPU)


def test_a_weight_file_that_the_manifest_does_not_list_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    del manifest["files"][FLOW_FILE]
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"must list `flow\.safetensors`\. Got: warm_start\.safetensors"):
        load_checkpoint(folder, CPU)


def test_a_checkpoint_may_have_no_static_field(folder: Path, tmp_path: Path) -> None:
    _, manifest = load_checkpoint(folder, CPU)
    networks = tiny_networks(tiny_spec().model_copy(update={"static_fields": ()}))
    save_checkpoint(tmp_path / "bare", "bare", networks, manifest.sampling, manifest.provenance)
    loaded, _ = load_checkpoint(tmp_path / "bare", CPU)
    assert loaded.context.static.shape == (0, 16, 32)
