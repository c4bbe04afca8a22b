import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from typer.testing import CliRunner, Result

from models.checkpoint import load_checkpoint
from storage.errors import ConfigurationError, DataDirectoryError
from storage.lock import lock_folder
from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig, read_config
from training.logs import Progress
from training.train import load_data, train
from warmcast.cli import app
from weather.errors import TrainingDataError
from weather.manifest import Manifest

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("closed_data")


def _train(config: Path, files: list[Path], output: Path, *more: str) -> Result:
    data = [argument for file in files for argument in ("--data", str(file))]
    arguments = ["train", str(config), *data, "--output", str(output), *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def _logged(output: Path) -> list[dict[str, Any]]:
    """Return the lines of the log without what depends on the speed of the machine."""
    lines = [json.loads(line) for line in (output / "progress.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line.keys() - {"samples_per_second", "seconds_left"}} for line in lines]


def test_training_writes_a_checkpoint_with_its_provenance(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    result = _train(write_config(), two_years, tmp_path / "run")
    assert result.exit_code == 0, result.output
    networks, manifest = load_checkpoint(tmp_path / "run/checkpoint", CPU)
    assert networks.spec.variable_names == ("u10", "v10")
    provenance = manifest.provenance
    assert (provenance.train_years, provenance.validation_years) == ((2000,), (2001,))
    assert (provenance.warm_start_steps, provenance.flow_steps) == (12, 12)
    assert manifest.sampling.nfe == 2
    logged = _logged(tmp_path / "run")
    for selection, score in zip(provenance.selections, ("nll", "crps_18h"), strict=True):
        scores = {line["step"]: line["validation"] for line in logged if line["stage"] == selection.stage}
        values = {step: validation[score] for step, validation in scores.items() if validation}
        assert (selection.score, selection.value) == (score, min(values.values()))
        assert values[selection.step] == selection.value
    assert len(load_checkpoint(tmp_path / "run/final", CPU)[1].provenance.selections) == 1
    assert len(list((tmp_path / "run/tensorboard").glob("*/events.*"))) == 2
    lines = result.stderr.splitlines()
    assert any("samples/s" in line and "left" in line and "validation  nll" in line for line in lines)


def test_training_a_checkpoint_further_starts_with_its_weights_and_adds_to_its_steps(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    config = write_config()
    assert _train(config, two_years, tmp_path / "first").exit_code == 0
    start = str(tmp_path / "first/checkpoint")
    no_steps = {"optimiser": {"steps": 0}}
    frozen = write_config(
        warm_start={**read_config(config).warm_start.model_dump(mode="json"), **no_steps},
        flow={**read_config(config).flow.model_dump(mode="json"), **no_steps},
    )
    assert _train(frozen, two_years, tmp_path / "same", "--from", start).exit_code == 0
    before, _ = load_checkpoint(tmp_path / "first/checkpoint", CPU)
    same, manifest = load_checkpoint(tmp_path / "same/checkpoint", CPU)
    for name, weight in before.flow.state_dict().items():
        assert torch.equal(same.flow.state_dict()[name], weight)
    assert manifest.provenance.flow_steps == 12
    assert _train(write_config(), two_years, tmp_path / "more", "--from", start).exit_code == 0
    more = load_checkpoint(tmp_path / "more/checkpoint", CPU)[1]
    assert more.provenance.flow_steps == 24
    assert more.model.variables == manifest.model.variables
    first_extremes, extremes = (
        load_checkpoint(tmp_path / "first/checkpoint", CPU)[1].model.extremes,
        more.model.extremes,
    )
    assert first_extremes is not None
    assert extremes is not None
    assert extremes == first_extremes, "frames of the same record count once"


def test_a_second_training_in_a_folder_requires_resume(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    config = write_config()
    _train(config, two_years, tmp_path / "run")
    digest = load_checkpoint(tmp_path / "run/checkpoint", CPU)[1].files
    again = _train(config, two_years, tmp_path / "run")
    assert again.exit_code == 2
    assert "Pass --resume" in again.stderr
    assert _train(config, two_years, tmp_path / "run", "--resume").exit_code == 0
    assert load_checkpoint(tmp_path / "run/checkpoint", CPU)[1].files == digest
    other = _train(write_config(seed=3), two_years, tmp_path / "run", "--resume")
    assert other.exit_code == 2
    assert "another configuration" in other.stderr


def test_two_processes_do_not_train_in_one_folder(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    config = write_config()
    with lock_folder(tmp_path / "run", DataDirectoryError("first")):
        for options in ((), ("--resume",)):
            refused = _train(config, two_years, tmp_path / "run", *options)
            assert refused.exit_code == 2
            assert f"Another process trains in `{tmp_path}/run`." in refused.stderr
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    assert _train(config, two_years, tmp_path / "run").exit_code == 0


def test_a_checkpoint_of_other_networks_is_not_trained_further(
    write_config: Callable[..., Path], two_years: list[Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    result = _train(write_config(), two_years, tmp_path / "run", "--from", str(tiny_checkpoint))
    assert result.exit_code == 2
    assert "differ in features" in result.stderr


def test_years_without_data_are_named(write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path) -> None:
    result = _train(write_config(), two_years[:1], tmp_path / "run")
    assert result.exit_code == 2
    assert "`data.validation_years` 2001 have no 3 consecutive frames" in result.stderr


def _train_directly(
    config: TrainingConfig,
    files: list[Path],
    output: Path,
    start: Path | None = None,
    *,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
) -> Manifest:
    return train(config, files, output, start, resume=resume, report=report)


def test_progress_is_logged_as_a_line_of_json_per_report(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    reports: list[Progress] = []
    _train_directly(read_config(write_config()), two_years, tmp_path / "run", report=reports.append)
    lines = (tmp_path / "run/progress.jsonl").read_text().splitlines()
    assert [Progress(**json.loads(line)) for line in lines] == reports
    assert [(report.stage, report.step) for report in reports] == [
        (stage, step) for stage in ("warm_start", "flow") for step in (3, 5, 6, 9, 10, 12)
    ]


@pytest.mark.parametrize("interrupted_at", [2, 7])
def test_an_interrupted_training_resumes_to_the_same_checkpoint(
    interrupted_at: int, write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    """The third report is made during the warm start's training, the eighth during the flow's."""
    config = read_config(write_config())
    reports: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        reports.append(progress)
        if len(reports) > interrupted_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train_directly(config, two_years, tmp_path / "run", report=interrupt)
    assert not (tmp_path / "run/checkpoint").exists()
    resumed = _train_directly(config, two_years, tmp_path / "run", resume=True)
    whole = _train_directly(config, two_years, tmp_path / "whole")
    assert resumed.files == whole.files
    assert resumed.provenance.selections == whole.provenance.selections
    assert _logged(tmp_path / "run") == _logged(tmp_path / "whole")


def test_a_refused_training_writes_nothing_and_may_be_started_again(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    config = read_config(write_config())
    with pytest.raises(TrainingDataError, match="validation_years"):
        _train_directly(config, two_years[:1], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    _train_directly(config, two_years, tmp_path / "run")
    assert (tmp_path / "run/checkpoint").is_dir()


def test_lead_times_beyond_the_validation_years_are_refused_before_anything_is_written(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    config = read_config(write_config(validation={"lead_times": ["15d"]}))
    with pytest.raises(TrainingDataError, match=r"360 hours of truth after them, for `validation\.lead_times`"):
        _train_directly(config, two_years, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_checkpoint_holds_statistics_of_the_training_years_and_settings_of_the_configuration(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    config = read_config(write_config(std_floor=0.05, sampling={"solver": "euler", "nfe": 3}))
    manifest = _train_directly(config, two_years, tmp_path / "run")
    with load_data(config, two_years) as series:
        assert (manifest.model.variables, manifest.model.extremes) == series.statistics((2000,))
        assert manifest.model.grid.grid.matches(series.grid)
    assert (manifest.model.std_floor, manifest.model.features) == (0.05, ("sin_latitude",))
    assert manifest.sampling == config.sampling
    assert (manifest.name, manifest.provenance.data) == ("tiny", "travelling waves")
    networks, loaded = load_checkpoint(tmp_path / "run/checkpoint", CPU)
    assert loaded == manifest
    assert torch.equal(networks.context.static, torch.from_numpy(series.static))


def test_trainings_of_one_seed_are_equal_and_of_another_differ(
    write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    files = []
    for name, seed in (("first", 0), ("same", 0), ("other", 1)):
        config = read_config(write_config(seed=seed))
        manifest = _train_directly(config, two_years, tmp_path / name)
        files.append(manifest.files)
    assert files[0] == files[1]
    assert not set(files[0].values()) & set(files[2].values())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"std_floor": 0.02}, "std_floor"),
        ({"time_step_hours": 12, "validation": {"lead_times": ["12h"], "growth_days": 0}}, "time_step_hours"),
        ({"static_fields": []}, "static_fields"),
    ],
)
def test_a_checkpoint_of_another_specification_is_not_trained_further(
    changes: dict[str, object], field: str, write_config: Callable[..., Path], two_years: list[Path], tmp_path: Path
) -> None:
    no_steps = {"warm_start": tiny_config()["warm_start"], "flow": tiny_config()["flow"]}
    for part in no_steps.values():
        part["optimiser"] = {"steps": 0}
    _train_directly(read_config(write_config(**no_steps)), two_years, tmp_path / "a")
    files = [_every_twelve_hours(path, tmp_path) for path in two_years] if "time_step_hours" in changes else two_years
    with pytest.raises(ConfigurationError, match=f"they differ in {field}"):
        _train_directly(
            read_config(write_config(**changes)),
            files,
            tmp_path / "b",
            tmp_path / "a/checkpoint",
        )


def _every_twelve_hours(path: Path, folder: Path) -> Path:
    with xr.open_dataset(path) as year:
        year.isel(time=slice(None, None, 2)).to_netcdf(folder / path.name)
    return folder / path.name
