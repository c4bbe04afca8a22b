import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.checkpoint_checks import check_checkpoint, export_checkpoint, verify_checkpoint
from weather.bundled import bundled_folder
from weather.errors import CheckpointError
from weather.manifest import FLOW_FILE, MANIFEST_NAME, WARM_START_FILE, file_digest


@pytest.fixture
def folder(untrained_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untrained_checkpoint, tmp_path / "copy"))


def _problems(folder: Path) -> dict[str, str]:
    return {check.name: " ".join(check.problems) for check in check_checkpoint(folder) if check.problems}


def _rewrite(folder: Path, file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of a file, and its digest in the manifest."""
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["files"][file] = file_digest(folder / file)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


def test_the_bundled_checkpoint_passes_every_check() -> None:
    report = verify_checkpoint(checkpoint="planet", checkpoint_folders=())
    assert report["is_well"], report
    assert [check["name"] for check in report["checks"]] == ["manifest", "files", "extremes", "tensors", "forecast"]
    assert report["checkpoint"] == str(bundled_folder("checkpoints") / "planet")


def test_missing_extremes_are_a_problem_that_does_not_prevent_an_export(folder: Path, tmp_path: Path) -> None:
    report = verify_checkpoint(checkpoint=str(folder), checkpoint_folders=())
    assert not report["is_well"]
    assert _problems(folder).keys() == {"extremes"}
    receipt = export_checkpoint(
        checkpoint=str(folder), checkpoint_folders=(), output=tmp_path / "new.zip", license_file=None
    )
    assert receipt["name"] == "untrained"
    assert (tmp_path / "new.zip").is_file()


def test_each_damaged_file_is_a_problem_and_is_not_exported(folder: Path, tmp_path: Path) -> None:
    (folder / WARM_START_FILE).unlink()
    (folder / FLOW_FILE).write_bytes(b"")
    found = _problems(folder)
    assert found.keys() == {"files", "extremes"}
    assert "lacks `warm_start.safetensors`" in found["files"]
    assert "flow.safetensors` is damaged" in found["files"]
    with pytest.raises(CheckpointError, match=r"cannot be exported: .*lacks .*is damaged"):
        export_checkpoint(checkpoint=str(folder), checkpoint_folders=(), output=tmp_path / "o.zip", license_file=None)
    assert not (tmp_path / "o.zip").exists()


def test_a_manifest_that_cannot_be_read_is_a_problem(folder: Path) -> None:
    (folder / MANIFEST_NAME).write_text('{"format_version": 1, "name": "A"}')
    assert "`name` is wrong" in _problems(folder)["manifest"]


def test_tensors_that_do_not_fit_are_named_in_both_files(folder: Path) -> None:
    for file in (WARM_START_FILE, FLOW_FILE):
        _rewrite(folder, file, lambda tensors: tensors.update(extra=torch.zeros(2)))
    found = _problems(folder)["tensors"]
    assert found.count("does not fit the manifest's architecture in 1 tensors. The first is `extra`") == 2


@pytest.mark.parametrize(
    ("file", "tensor"), [(FLOW_FILE, "net.stem.conv.weight"), (WARM_START_FILE, "static.orography")]
)
def test_a_tensor_that_is_not_finite_is_named(folder: Path, file: str, tensor: str) -> None:
    _rewrite(folder, file, lambda tensors: tensors[tensor].view(-1)[3:4].fill_(torch.nan))
    assert tensor in _problems(folder)["tensors"]


def test_a_forecast_that_explodes_is_a_problem(folder: Path) -> None:
    _rewrite(folder, WARM_START_FILE, lambda tensors: tensors["net.head.conv.bias"].fill_(1e4))
    assert "Got: a lost member." in _problems(folder)["forecast"]


def test_a_forecast_that_varies_is_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The random numbers of the second time step are others, as they would be if a network drew some."""
    steps = iter((7, 8))
    monkeypatch.setattr("models.noise.NoiseStream.draw_into", lambda _, out: out.fill(next(steps) / 10))
    assert "must have the same values twice. Got: a difference of" in _problems(folder)["forecast"]
