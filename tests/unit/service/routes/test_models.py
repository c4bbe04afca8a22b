import json
from pathlib import Path

import pytest

from jobs.rows.database import Database
from jobs.settings import Settings
from models.testing import write_tiny_checkpoint
from service.app import create_app
from tests.in_process import InProcess, run_in_process
from tests.served import small_request
from weather.bundled import catalogue_states, find_named_checkpoint
from weather.manifest import NoiseSpec, read_manifest
from weather.times import parse_time


def test_all_checkpoints_are_listed_by_name(api: InProcess) -> None:
    models = api.get("/v1/models").json()
    assert [model["id"] for model in models] == ["earth", "planet", "untrained"]
    for model in models:
        assert api.get(f"/v1/models/{model['id']}").json() == model


def test_a_model_is_described_by_its_manifest(api: InProcess, untrained_checkpoint: Path) -> None:
    manifest = read_manifest(untrained_checkpoint)
    model = api.get("/v1/models/untrained").json()
    assert model["digest"] == manifest.digest
    assert model["variables"] == list(manifest.model.variable_names)
    assert model["time_step_hours"] == manifest.model.time_step_hours
    assert model["context_frames"] == manifest.model.context_frames
    assert (model["grid"]["latitudes"], model["grid"]["longitudes"]) == manifest.model.grid.grid.shape
    assert model["sampling"] == json.loads(manifest.sampling.model_dump_json())


def test_a_model_states_the_limits_of_the_service(settings: Settings) -> None:
    limited = settings.replace(max_members=7, max_lead_hours=48)
    with run_in_process(create_app(limited, with_worker=False)) as api:
        for model in api.get("/v1/models").json():
            assert (model["max_members"], model["max_lead_hours"]) == (7, 48)


@pytest.mark.parametrize("name", ["nobody", "Planet", "..", "%2e%2e", "planet%2f.."])
def test_an_unknown_model_is_a_problem_that_lists_the_known_ones(api: InProcess, name: str) -> None:
    response = api.get(f"/v1/models/{name}")
    assert response.status_code == 404
    if response.json()["type"] == "/problems/no-such-model":
        assert "earth, planet, untrained" in response.json()["detail"]


def test_a_model_cannot_be_named_by_its_path(api: InProcess, untrained_checkpoint: Path) -> None:
    assert api.get(f"/v1/models/{untrained_checkpoint}").status_code == 404
    assert api.get(f"/v1/models/{str(untrained_checkpoint).replace('/', '%2F')}").status_code == 404


def test_a_checkpoint_that_is_added_is_served_without_a_restart(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    with run_in_process(create_app(settings.replace(checkpoints=str(folder)), with_worker=False)) as api:
        assert api.get("/v1/models/added").status_code == 404
        write_tiny_checkpoint(folder / "added")
        assert api.get("/v1/models/added").status_code == 200
        assert [model["id"] for model in api.get("/v1/models").json()] == ["added", "earth", "planet"]


def test_a_scale_of_the_noise_by_variable_is_in_the_model_and_in_the_estimate_of_its_forecasts(
    settings: Settings, tmp_path: Path
) -> None:
    noise = NoiseSpec(correlation=0.3, scale={"u10": 1.03, "v10": 1.01})
    write_tiny_checkpoint(tmp_path / "more/scaled", name="scaled", noise=noise)
    with run_in_process(create_app(settings.replace(checkpoints=str(tmp_path / "more")), with_worker=False)) as api:
        model = api.get("/v1/models/scaled").json()
        estimate = api.post("/forecast?validate_only=true", json=small_request(model="scaled")).json()
    assert model["noise"]["scale"] == {"u10": 1.03, "v10": 1.01}
    assert estimate["noise"] == noise.parameters


def test_the_first_folder_takes_precedence_for_checkpoints_of_one_name(settings: Settings, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, trained in zip(folders, (False, True), strict=True):
        write_tiny_checkpoint(folder / "planet", trained=trained)
    for searched in (folders, folders[::-1]):
        named = ":".join(map(str, searched))
        with run_in_process(create_app(settings.replace(checkpoints=named), with_worker=False)) as api:
            (model,) = [model for model in api.get("/v1/models").json() if model["id"] == "planet"]
        assert model["digest"] == read_manifest(searched[0] / "planet").digest
        assert model["digest"] == read_manifest(find_named_checkpoint("planet", searched)).digest


def test_the_catalogue_lists_states_with_their_times(api: InProcess) -> None:
    states = api.get("/v1/catalogue").json()
    assert states == [{"dataset": state.dataset, "init_time": state.init_time} for state in catalogue_states()]
    assert {state["dataset"] for state in states} == {"gfs", "nature-run"}
    for state in states:
        parse_time(state["init_time"])


def test_models_and_catalogue_are_also_served_without_the_version(api: InProcess) -> None:
    for path in ("/models", "/models/planet", "/catalogue", "/datasets"):
        assert api.get(path).json() == api.get(f"/v1{path}").json()


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"format_version": 1}', '{"format_version": 2}'])
def test_an_invalid_manifest_hides_no_other_model_and_is_named_in_the_log(
    content: str, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = f"{tmp_path / 'more'}:{settings.storage.checkpoints}"
    (tmp_path / "more/broken").mkdir(parents=True)
    (tmp_path / "more/broken/manifest.json").write_text(content)
    with run_in_process(create_app(settings.replace(checkpoints=folders), with_worker=False)) as api:
        assert [model["id"] for model in api.get("/v1/models").json()] == ["earth", "planet", "untrained"]
        request = {"model": "broken", "initial_state": {"source": "catalogue", "dataset": "gfs"}}
        for response in (api.get("/v1/models/broken"), api.post("/v1/forecast", json=request)):
            assert response.status_code == 404
            assert "The manifest of checkpoint `broken` is invalid." in response.json()["detail"]
            assert str(tmp_path) not in response.text
    assert f"The checkpoint broken cannot be used: `{tmp_path}/more/broken" in caplog.text
