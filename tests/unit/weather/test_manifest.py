import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.testing import tiny_spec
from weather.bundled import find_named_checkpoint
from weather.errors import CheckpointError
from weather.extremes import compute_extremes
from weather.manifest import (
    GridSpec,
    Manifest,
    ModelSpec,
    Normalisation,
    Provenance,
    Sampling,
    Selection,
    file_digest,
    read_manifest,
)
from weather.network_specs import UNetSpec


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        name="tiny",
        model=tiny_spec(),
        sampling=Sampling(solver="euler", nfe=3, power=1.5, warmth=0.25),
        provenance=Provenance(
            data="random numbers",
            attribution="Not trained.",
            train_years=(1999, 2000),
            validation_years=(2001,),
            code_version="0.1.0",
            warm_start_steps=10,
            flow_steps=20,
            training_hours=0.1 + 0.2,
        ),
        files={"flow.safetensors": "a" * 64, "warm_start.safetensors": "b" * 64},
    )


def _write(folder: Path, content: Any) -> Path:
    (folder / "manifest.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def _raw(manifest: Manifest) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(manifest.to_json())
    return raw


def test_selections_are_kept_and_a_manifest_without_any_is_as_before(manifest: Manifest, tmp_path: Path) -> None:
    assert "selections" not in _raw(manifest)["provenance"]
    chosen = (Selection(stage="flow", step=200, score="crps_72h", value=0.25),)
    changed = manifest.model_copy(update={"provenance": manifest.provenance.model_copy(update={"selections": chosen})})
    assert read_manifest(_write(tmp_path, changed.to_json())).provenance.selections == chosen
    assert changed.digest != manifest.digest


def test_a_written_manifest_is_read_back(manifest: Manifest, tmp_path: Path) -> None:
    read = read_manifest(_write(tmp_path, manifest.to_json()))
    assert read == manifest
    assert read.digest == manifest.digest
    assert read.to_json() == manifest.to_json()


def test_fields_with_a_default_may_be_left_out(manifest: Manifest, tmp_path: Path) -> None:
    raw = _raw(manifest)
    raw["sampling"] = {}
    del raw["model"]["time_step_hours"], raw["model"]["warm_start"]["stem"]
    read = read_manifest(_write(tmp_path, raw))
    assert read.sampling == Sampling(solver="midpoint", nfe=6, power=1.0, warmth=1.0)
    assert read.model == manifest.model


def test_fields_that_older_manifests_lack_are_written_only_where_they_say_more(manifest: Manifest) -> None:
    raw = _raw(manifest)["model"]
    assert not {"context_frames", "kind"} & (raw.keys() | raw["warm_start"].keys() | raw["flow"].keys())
    more = _raw(manifest.model_copy(update={"model": tiny_spec(context_frames=3, paper=True)}))["model"]
    assert more["context_frames"] == 3
    assert (more["warm_start"]["kind"], more["flow"]["kind"]) == ("paper_warm_start", "paper_flow")


@pytest.mark.parametrize("name", ["context_frames", "paper"])
def test_frames_and_kinds_of_networks_are_read_back(manifest: Manifest, tmp_path: Path, name: str) -> None:
    spec = tiny_spec(context_frames=4) if name == "context_frames" else tiny_spec(paper=True)
    changed = manifest.model_copy(update={"model": spec})
    assert read_manifest(_write(tmp_path, changed.to_json())) == changed
    assert changed.digest != manifest.digest


def test_the_bundled_checkpoint_is_written_back_as_it_is() -> None:
    folder = find_named_checkpoint("planet", ())
    manifest = read_manifest(folder)
    assert manifest.to_json() == (folder / "manifest.json").read_text()
    assert manifest.model.context_frames == 2
    assert {network.kind for network in (manifest.model.warm_start, manifest.model.flow)} == {"unet"}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "resnet"}, "`kind` must be unet, paper_warm_start or paper_flow"),
        ({"kind": "paper_flow", "widths": [100]}, "`widths` must be multiples of `norm_groups` 32"),
        ({"kind": "paper_flow", "attention_levels": [3]}, "`attention_levels` must be less than 3"),
        ({"kind": "paper_warm_start", "head_width": 24}, "`widths` must be multiples of `head_width` 24"),
        ({"kind": "paper_warm_start"}, "`paper_flow` is a flow network"),
        ({"kind": "paper_flow", "stem": 2}, "stem"),
    ],
)
def test_a_network_of_an_unknown_kind_or_a_wrong_shape_is_named(
    spec: ModelSpec, network: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSpec.model_validate(spec.model_dump() | {"flow": network})


@pytest.mark.parametrize("frames", [1, 9])
def test_the_context_has_between_two_and_eight_frames(spec: ModelSpec, frames: int) -> None:
    with pytest.raises(ValidationError, match="context_frames"):
        ModelSpec.model_validate(spec.model_dump() | {"context_frames": frames})


def test_a_manifest_without_extremes_has_no_such_field(manifest: Manifest) -> None:
    assert "extremes" not in _raw(manifest)["model"]
    assert manifest.model.extremes is None


def test_extremes_are_written_and_read_back_and_are_part_of_the_digest(manifest: Manifest, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(0, 5, (4, 2, 16, 32)).astype(np.float32)
    times = np.datetime64("2000-01-01T00", "s") + np.timedelta64(6, "h") * np.arange(4)
    scale = [(variable.name, variable.mean, variable.std) for variable in manifest.model.variables]
    extremes = compute_extremes([(frames, times)], manifest.model.grid.grid, scale, manifest.model.time_step)
    changed = manifest.model_copy(update={"model": manifest.model.model_copy(update={"extremes": extremes})})
    assert read_manifest(_write(tmp_path, changed.to_json())) == changed
    assert changed.digest != manifest.digest


def test_a_specification_has_variables_time_step_and_grid(manifest: Manifest) -> None:
    model = manifest.model
    assert model.variable_names == ("u10", "v10")
    assert [variable.param_id for variable in model.known_variables] == [165, 166]
    assert model.time_step == np.timedelta64(6, "h")
    assert model.grid.grid.shape == (16, 32)


@pytest.mark.parametrize(("stem", "levels", "stride"), [(1, 1, 1), (2, 1, 2), (2, 2, 4), (2, 4, 16), (3, 3, 12)])
def test_the_stride_doubles_with_every_level(stem: int, levels: int, stride: int) -> None:
    assert UNetSpec(widths=(8,) * levels, stem=stem).stride == stride


def test_a_folder_without_a_manifest_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no manifest\.json") as caught:
        read_manifest(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "not json", '{"name": '])
def test_a_manifest_that_is_not_json_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        read_manifest(_write(tmp_path, content))


def test_a_manifest_of_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_named(manifest: Manifest, tmp_path: Path, version: Any) -> None:
    with pytest.raises(CheckpointError, match="must have `format_version` 1") as caught:
        read_manifest(_write(tmp_path, _raw(manifest) | {"format_version": version}))
    assert f"Got: {version!r}." in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", '"text"'])
def test_json_that_is_not_an_object_has_no_format_version(tmp_path: Path, content: str) -> None:
    with pytest.raises(CheckpointError, match="Got: None"):
        read_manifest(_write(tmp_path, content))


@pytest.mark.parametrize(
    ("path", "value", "location"),
    [
        (("colour",), "red", "colour"),
        (("sampling", "colour"), "red", "sampling.colour"),
        (("sampling", "nfe"), 0, "sampling.nfe"),
        (("sampling", "warmth"), 1.5, "sampling.warmth"),
        (("sampling", "solver"), "heun", "sampling.solver"),
        (("name",), "../tiny", "name"),
        (("files", "flow.safetensors"), "a" * 63, "files.flow.safetensors"),
        (("provenance", "training_hours"), float("nan"), "provenance.training_hours"),
        (("model", "variables"), [], "model.variables"),
        (("model", "variables", 0, "std"), 0.0, "model.variables.0.std"),
        (("model", "variables", 0, "mean"), 0.5, "model.variables.0"),
        (("model", "variables", 1, "name"), "z500", "model.variables.1"),
        (("model", "features"), ["moonlight"], "model"),
        (("model", "flow", "widths"), [12], "model.flow.unet.widths.0"),
        (("model", "grid", "latitude"), [60.0, 50.0, 40.0, 30.0], "model.grid"),
        (("model", "grid", "longitude"), [0.0, 1.0, 2.0, 3.0], "model.grid"),
    ],
)
def test_a_wrong_field_is_named_by_its_location(
    manifest: Manifest, tmp_path: Path, path: tuple[str | int, ...], value: Any, location: str
) -> None:
    raw: Any = _raw(manifest)
    part = raw
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(CheckpointError) as caught:
        read_manifest(_write(tmp_path, raw))
    assert f"`{location}` is wrong: " in str(caught.value)


def test_a_missing_field_is_named(manifest: Manifest, tmp_path: Path) -> None:
    raw = _raw(manifest)
    del raw["provenance"]["attribution"]
    with pytest.raises(CheckpointError, match=r"`provenance\.attribution` is wrong: Field required"):
        read_manifest(_write(tmp_path, raw))


@pytest.mark.parametrize("name", ["u10", "v10"])
def test_a_wind_component_has_mean_zero(name: str) -> None:
    with pytest.raises(ValidationError, match=f"variable `{name}` is a vector component, so its mean must be 0"):
        Normalisation(name=name, mean=0.1, std=1.0)
    assert Normalisation(name="t2m", mean=288.0, std=15.0).mean == 288.0


def test_an_unknown_feature_is_named_with_the_known(spec: ModelSpec) -> None:
    with pytest.raises(ValidationError, match=r"features \['moonlight'\] are not among sin_latitude, season_sin"):
        ModelSpec.model_validate(spec.model_dump() | {"features": ("season_sin", "moonlight")})


def test_a_grid_of_a_region_is_refused() -> None:
    with pytest.raises(ValidationError, match="The grid must be global"):
        GridSpec(latitude=(60.0, 50.0, 40.0, 30.0), longitude=(0.0, 90.0, 180.0, 270.0))


@pytest.mark.parametrize(("network", "width"), [("flow", 0), ("warm_start", 16)])
def test_only_the_flow_network_has_an_embedding_of_the_flow_time(spec: ModelSpec, network: str, width: int) -> None:
    raw = spec.model_dump()
    raw[network]["embedding_width"] = width
    with pytest.raises(ValidationError, match="the flow network needs an `embedding_width`, the warm start none"):
        ModelSpec.model_validate(raw)


def test_the_digest_depends_on_every_part_of_the_content(manifest: Manifest) -> None:
    others = [
        {"name": "other"},
        {"sampling": manifest.sampling.model_copy(update={"nfe": 4})},
        {"provenance": manifest.provenance.model_copy(update={"flow_steps": 21})},
        {"model": manifest.model.model_copy(update={"std_floor": 0.02})},
        {"files": manifest.files | {"flow.safetensors": "c" * 64}},
    ]
    digests = {manifest.digest, *(manifest.model_copy(update=other).digest for other in others)}
    assert len(digests) == 1 + len(others)


def test_the_digest_is_that_of_the_written_file(manifest: Manifest, tmp_path: Path) -> None:
    path = _write(tmp_path, manifest.to_json()) / "manifest.json"
    assert manifest.digest == file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
