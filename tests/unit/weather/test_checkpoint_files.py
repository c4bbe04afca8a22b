import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weather.bundled import bundled_folder
from weather.checkpoint_files import (
    LICENSE_NAME,
    WEIGHT_FILES,
    count_parameters,
    find_file_problems,
    read_license,
    read_tensor_shapes,
)
from weather.errors import CheckpointError
from weather.manifest import FLOW_FILE, MANIFEST_NAME, WARM_START_FILE, read_manifest


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def test_an_intact_checkpoint_has_no_problem(folder: Path) -> None:
    assert list(find_file_problems(folder, read_manifest(folder))) == []


def test_every_damaged_file_is_named(folder: Path) -> None:
    (folder / WARM_START_FILE).unlink()
    with (folder / FLOW_FILE).open("r+b") as file:
        file.write(b"\0")
    problems = dict(find_file_problems(folder, read_manifest(folder)))
    assert f"lacks `{WARM_START_FILE}`" in problems[WARM_START_FILE]
    assert "is damaged: expected SHA-256" in problems[FLOW_FILE]


def test_a_file_that_the_manifest_does_not_list_is_named(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["files"] = {}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    problems = dict(find_file_problems(folder, read_manifest(folder)))
    assert problems.keys() == set(WEIGHT_FILES)
    assert "must list `flow.safetensors`. Got: none." in problems[FLOW_FILE]


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_shapes_and_numbers_are_those_that_safetensors_reads(folder: Path, name: str) -> None:
    tensors = load_file(folder / name)
    assert read_tensor_shapes(folder / name) == {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    weights = [tensor.numel() for key, tensor in tensors.items() if not key.startswith("static.")]
    assert count_parameters(folder / name) == sum(weights)


@pytest.mark.parametrize("content", [b"", b"\2\0\0\0\0\0\0\0[]", b"\xff" * 20, b"\2\0\0\0\0\0\0\0{", b"PK\3\4" * 9])
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        read_tensor_shapes(tmp_path / "file")


def test_a_pickled_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "file")
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        count_parameters(tmp_path / "file")


def test_the_licence_is_its_first_line(tmp_path: Path) -> None:
    assert read_license(tmp_path) is None
    (tmp_path / LICENSE_NAME).write_text("\n\n   My licence  \nmore\n")
    assert read_license(tmp_path) == "My licence"


def test_the_bundled_checkpoint_has_the_licence_of_warmcast() -> None:
    planet = bundled_folder("checkpoints") / "planet"
    assert read_license(planet) == "Apache License"
