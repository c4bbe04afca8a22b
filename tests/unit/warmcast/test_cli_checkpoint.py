import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from models.checkpoint import load_checkpoint
from warmcast.cli import app
from weather.bundled import DEFAULT_CHECKPOINT, bundled_folder
from weather.manifest import FLOW_FILE, Selection, read_manifest


def _run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["checkpoint", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(untrained_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untrained_checkpoint, tmp_path / "mine"))


@pytest.mark.parametrize("arguments", [(), ("planet",)])
def test_the_inspection_says_what_a_user_wants_to_know(arguments: tuple[str, ...]) -> None:
    folder = bundled_folder("checkpoints") / (arguments or (DEFAULT_CHECKPOINT,))[0]
    networks, manifest = load_checkpoint(folder, torch.device("cpu"))
    text = " ".join(_run("inspect", *arguments).output.split())
    sampling, provenance = manifest.sampling, manifest.provenance
    for words in ("10 metre u wind component, m s-1", "48 × 96", "6 h, from 2 frames", "orog, lsm", "Apache License"):
        assert words in text
    for words in (f"{sampling.solver}, NFE {sampling.nfe}", provenance.attribution, provenance.data):
        assert words in text
    parameters = sum(weight.numel() for weight in networks.warm_start.parameters())
    assert f"{parameters:,} parameters" in text


def test_the_inspection_as_json_agrees_with_the_checkpoint(tiny_checkpoint: Path) -> None:
    report = json.loads(_run("inspect", tiny_checkpoint, "--json").output)
    networks, manifest = load_checkpoint(tiny_checkpoint, torch.device("cpu"))
    assert report["digest"] == manifest.digest
    for described, net in zip(report["networks"], (networks.warm_start, networks.flow), strict=True):
        assert described["parameters"] == sum(weight.numel() for weight in net.parameters())
    assert [variable["std"] for variable in report["variables"]] == [6.0, 5.0]
    assert report["provenance"] == manifest.provenance.model_dump(mode="json")
    assert report["size_bytes"] == sum(path.stat().st_size for path in tiny_checkpoint.iterdir())
    assert {file["name"]: file["sha256"] for file in report["files"]} == {"manifest.json": None, **manifest.files}


def test_the_weights_that_were_kept_are_named_with_their_score(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    kept = (Selection(stage="flow", step=4000, score="crps_72h", value=0.25),)
    provenance = manifest.provenance.model_copy(update={"selections": kept})
    (folder / "manifest.json").write_text(manifest.model_copy(update={"provenance": provenance}).to_json())
    assert "flow: after step 4,000, crps_72h 0.25" in _run("inspect", folder).output
    _run("export", folder, "--output", tmp_path / "new")
    assert "Weights kept of flow: those after step 4,000" in (tmp_path / "new/README.md").read_text()


def test_a_damaged_checkpoint_is_inspected_too(folder: Path) -> None:
    (folder / FLOW_FILE).unlink()
    assert "weights missing or damaged" in _run("inspect", folder).output


def test_the_exit_code_says_whether_a_checkpoint_is_whole(folder: Path) -> None:
    assert "[ok] forecast: one time step" in _run("verify").output
    (folder / FLOW_FILE).write_bytes(b"")
    output = _run("verify", folder, code=1).output
    assert "[FAILED] files" in output
    assert "flow.safetensors` is damaged" in output
    assert not json.loads(_run("verify", folder, "--json", code=1).output)["is_well"]


def test_a_checkpoint_is_used_by_its_name_where_it_was_imported(folder: Path, tmp_path: Path) -> None:
    result = _run("export", folder, "--output", tmp_path / "a.zip")
    assert "states no licence" in result.stderr
    _run("import", tmp_path / "a.zip", "--into", tmp_path / "there")
    report = json.loads(_run("inspect", "untrained", "--checkpoints", tmp_path / "there", "--json").output)
    assert report["digest"] == read_manifest(folder).digest
    (folder / FLOW_FILE).write_bytes(b"")
    assert "cannot be exported" in _run("export", folder, "--output", tmp_path / "b.zip", code=2).stderr
