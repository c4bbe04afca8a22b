import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diagnostics.evaluation.report import render_score_page
from diagnostics.scores.crps import crps_fair
from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from storage.errors import ConfigurationError
from training.data.testing import MemoryFrames
from training.data.training_data import TrainingData
from training.evaluation.evaluator import Evaluator
from training.evaluation.records_file import RecordsFile
from training.evaluation.results import combine_records
from training.evaluation.settings import Evaluation, start_indices
from training.evaluation.steppers import GaussianControl
from warmcast.score_tables import print_scores
from weather.errors import TrainingDataError
from weather.manifest import Manifest
from weather.testing import travelling_waves

SETTINGS = Evaluation(years=(2001,), num_starts=3, num_members=4, lead_steps=(1, 2), group_size=2, seed=0)
CPU = torch.device("cpu")


def _data(manifest: Manifest, first: str, count: int, gap: int | None = None) -> TrainingData:
    grid, names = manifest.model.grid.grid, manifest.model.variable_names
    times = np.datetime64(first, "s") + np.arange(count) * np.timedelta64(6, "h")
    waves = travelling_waves(grid, list(times))
    frames = np.stack([waves[name].values for name in names], axis=1)
    kept = np.delete(np.arange(count), [] if gap is None else gap)
    return TrainingData(MemoryFrames(grid, names, times[kept], frames[kept]), np.timedelta64(6, "h"))


@pytest.fixture(scope="module")
def forecaster_and_manifest(untrained_checkpoint: Path) -> tuple[Forecaster, Manifest]:
    networks, manifest = load_checkpoint(untrained_checkpoint, CPU)
    return Forecaster(networks, manifest.sampling.replace(nfe=2), CPU), manifest


@pytest.fixture
def evaluator(forecaster_and_manifest: tuple[Forecaster, Manifest]) -> Callable[..., Evaluator]:
    """Make an evaluator on 170 frames from 2000-12-10; takes fields of `Evaluation`."""
    forecaster, manifest = forecaster_and_manifest
    data = _data(manifest, "2000-12-10T00", 170)

    def make(**changes: Any) -> Evaluator:
        return Evaluator(forecaster, manifest, data, replace(SETTINGS, **changes))

    return make


def _run(evaluator: Evaluator, path: Path) -> list[dict[str, Any]]:
    file = RecordsFile(path, evaluator.settings())
    for _ in evaluator.run(file):
        pass
    return file.records


def test_starts_are_spread_evenly_and_have_truth_at_all_lead_times(
    forecaster_and_manifest: tuple[Forecaster, Manifest],
) -> None:
    data = _data(forecaster_and_manifest[1], "2000-12-30T00", 50)
    usable = range(9, 47)
    assert data.sample_indices((2001,))[[0, -1]].tolist() == [9, 48]
    assert start_indices(data, replace(SETTINGS, num_starts=38, lead_steps=(1, 2, 3))) == list(usable)
    assert start_indices(data, replace(SETTINGS, num_starts=2, lead_steps=(1, 2, 3))) == [9, 46]
    assert start_indices(data, replace(SETTINGS, num_starts=1, lead_steps=(40,))) == [9]


def test_no_forecast_starts_where_its_truth_has_a_gap(forecaster_and_manifest: tuple[Forecaster, Manifest]) -> None:
    data = _data(forecaster_and_manifest[1], "2001-01-01T00", 30, gap=12)
    starts = start_indices(data, replace(SETTINGS, num_starts=18, lead_steps=(1, 2, 3, 4)))
    times = data.valid_times[starts]
    lead = np.timedelta64(24, "h")
    gap = np.datetime64("2001-01-04T00")
    assert len(set(starts)) == 18
    assert not any(time - np.timedelta64(6, "h") <= gap <= time + lead for time in times)
    last_alone = start_indices(data, replace(SETTINGS, num_starts=21, lead_steps=(4,)))
    assert gap - lead / 2 in data.valid_times[last_alone]


def test_of_a_short_record_starts_with_truth_at_the_first_lead_time_are_taken_if_there_are_too_few_others(
    forecaster_and_manifest: tuple[Forecaster, Manifest],
) -> None:
    data = _data(forecaster_and_manifest[1], "2001-01-01T00", 20, gap=8)
    complete = start_indices(data, replace(SETTINGS, num_starts=11, lead_steps=(1, 3)))
    few = replace(SETTINGS, lead_steps=(1, 3))
    assert start_indices(data, few, partial=True) == start_indices(data, few)
    starts = start_indices(data, replace(few, num_starts=15), partial=True)
    assert set(complete) < set(starts)
    assert starts == data.sample_indices((2001,)).tolist()
    with pytest.raises(TrainingDataError, match=r"at most 15, .* truth at the first lead time after them\. Got: 16"):
        start_indices(data, replace(few, num_starts=16), partial=True)
    with pytest.raises(TrainingDataError, match=r"at most 0, .* all lead times up to 40 time steps .* Got: 2"):
        start_indices(data, replace(few, num_starts=2, lead_steps=(1, 40)), partial=True)


def test_each_start_is_scored_as_far_as_it_has_truth_and_rows_have_their_number_of_starts(
    forecaster_and_manifest: tuple[Forecaster, Manifest], tmp_path: Path
) -> None:
    forecaster, manifest = forecaster_and_manifest
    data, settings = _data(manifest, "2000-12-10T00", 94), replace(SETTINGS, lead_steps=(1, 2, 4), num_starts=4)
    starts = start_indices(data, settings, partial=True)
    records = _run(Evaluator(forecaster, manifest, data, settings, starts), tmp_path / "r.jsonl")
    assert [[int(hours) for hours in record["lead_times"]] for record in records] == [
        [6, 12, 24],
        [6, 12],
        [6, 12],
        [6],
    ]
    shorter = Evaluator(forecaster, manifest, data, replace(settings, lead_steps=(1, 2)), starts[:3])
    whole = combine_records(_run(shorter, tmp_path / "w.jsonl"), settings, 6, {})["scores"]["u10"]
    result = combine_records(records, settings, 6, {"itself": (records, 4)})
    rows = result["scores"]["u10"]
    assert [(row["lead_hours"], row["starts"]) for row in rows] == [(6, 4), (12, 3), (24, 1)]
    assert rows[1]["crps_fair"] == pytest.approx(whole[1]["crps_fair"])
    assert [row["starts"] for row in result["energy"]] == [4, 3, 1]
    assert "intervals" in rows[1]
    assert "intervals" not in rows[2]
    assert [row["crps_fair"]["difference"] for row in result["comparisons"]["itself"]["scores"]["u10"]] == [0, 0, 0]
    page = render_score_page("short", {"settings": {}} | result, None)
    assert "<th>starts</th>" in page
    print_scores(result)


def test_too_many_starts_are_refused_with_the_number_that_is_possible(
    forecaster_and_manifest: tuple[Forecaster, Manifest],
) -> None:
    data = _data(forecaster_and_manifest[1], "2001-01-01T00", 10)
    with pytest.raises(TrainingDataError, match=r"at most 7, the frames of 2001 with truth .* up to 2 .* Got: 8"):
        start_indices(data, replace(SETTINGS, num_starts=8))


def test_a_season_without_climatology_has_a_pooled_one_or_is_refused_before_anything_is_computed(
    forecaster_and_manifest: tuple[Forecaster, Manifest],
) -> None:
    """The training year has December only; the first start is in January, the last in April."""
    forecaster, manifest = forecaster_and_manifest
    data, settings = _data(manifest, "2000-12-01T00", 600), replace(SETTINGS, num_starts=20)
    assert Evaluator(forecaster, manifest, data, settings).settings()["climatology"] == "pooled"
    with pytest.raises(TrainingDataError, match=r"Climatology needs 50 states of 2000 .*date of 2001-0[123]-"):
        Evaluator(forecaster, manifest, data, replace(settings, climatology="seasonal"))


class Clock:
    """A clock that a test moves: `time.perf_counter` of the module under test."""

    now = 7.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(("members", "group_size", "groups"), [(4, 2, 2), (5, 2, 3), (8, 8, 1), (9, 8, 2)])
def test_the_estimated_duration_is_that_of_the_second_step_times_groups_and_lead_times(
    members: int, group_size: int, groups: int, evaluator: Callable[..., Evaluator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step takes 60 s, as a compilation would, every other 0.5 s."""
    clock, step, seconds = Clock(), Forecaster.step, [60.0, 0.5]

    def slow_step(self: Forecaster, *arguments: Any) -> torch.Tensor:
        clock.now += seconds.pop(0)
        return step(self, *arguments)

    monkeypatch.setattr("training.evaluation.evaluator.time", clock)
    monkeypatch.setattr(Forecaster, "step", slow_step)
    subject = evaluator(num_members=members, group_size=group_size, lead_steps=(3,))
    cost = subject.estimate_cost(done=1)
    assert cost.seconds == pytest.approx(2 * 0.5 * groups * 3)
    residuals = 3 * (group_size + 1)
    assert cost.evaluations == 2 * (groups * group_size * 3 * (2 + 1) + residuals)
    assert seconds == []
    assert subject.estimate_cost(done=3).evaluations == 0


def test_a_score_is_that_of_the_forecast_from_its_start(evaluator: Callable[..., Evaluator]) -> None:
    subject = evaluator()
    example, record = subject.compute_example(), subject.score(subject.starts[0])
    assert record["start"] == str(example.init_time)
    assert list(record["lead_times"]) == [6, 12]
    weights = np.asarray(example.grid.area_weights)[:, None]
    for index, hours in enumerate((6, 12)):
        expected = float((crps_fair(example.members[index], example.truth[index]) * weights).mean())
        scores = record["lead_times"][hours]["scores"]
        assert scores["wind_speed_10m"]["crps_fair"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("group_size", [1, 3, 4, 16])
def test_scores_do_not_depend_on_the_size_of_the_groups(group_size: int, evaluator: Callable[..., Evaluator]) -> None:
    """The last group may be short: the members that fill it are not scored."""
    first, second = evaluator(), evaluator(group_size=group_size)
    expected, got = first.compute_example(), second.compute_example()
    assert got.members.shape == (2, 4, *got.grid.shape)
    np.testing.assert_allclose(got.members, expected.members, atol=1e-4)


def test_another_seed_gives_other_members_of_the_same_starts(evaluator: Callable[..., Evaluator]) -> None:
    first, second = evaluator(), evaluator(seed=1)
    assert first.starts == second.starts
    assert np.abs(first.compute_example().members - second.compute_example().members).max() > 0.1


def test_an_interrupted_evaluation_computes_the_starts_that_remain(
    evaluator: Callable[..., Evaluator], tmp_path: Path
) -> None:
    path, subject = tmp_path / "records.jsonl", evaluator()
    whole = _run(subject, path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:40])
    assert len(list(subject.run(RecordsFile(path, subject.settings())))) == 1
    assert path.read_text().splitlines(keepends=True) == lines
    assert _run(subject, path) == whole


def test_an_evaluation_that_is_done_computes_nothing(
    evaluator: Callable[..., Evaluator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, path = evaluator(), tmp_path / "records.jsonl"
    whole = _run(subject, path)
    monkeypatch.setattr(Evaluator, "score", lambda *_: pytest.fail("scored again"))
    assert _run(subject, path) == whole


@pytest.mark.parametrize("content", ["", '{"records_format"'])
def test_records_without_a_complete_line_are_replaced(
    content: str, evaluator: Callable[..., Evaluator], tmp_path: Path
) -> None:
    path, subject = tmp_path / "records.jsonl", evaluator(num_starts=1)
    path.write_text(content)
    _run(subject, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == subject.settings()
    assert len(lines) == 2


@pytest.mark.parametrize("content", ["my notes\n", "[1, 2]\n", '{"members": 4}\n{"half'])
def test_another_kind_of_file_is_refused_and_not_changed(
    content: str, evaluator: Callable[..., Evaluator], tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(content)
    with pytest.raises(
        ConfigurationError, match=r"records\.jsonl` (is no file of records|holds an evaluation of other)"
    ):
        _run(evaluator(), path)
    assert path.read_text() == content


@pytest.mark.parametrize("changes", [{"seed": 1}, {"num_members": 3}, {"num_starts": 2}, {"lead_steps": (1,)}])
def test_settings_name_all_that_the_scores_depend_on(
    changes: dict[str, int], evaluator: Callable[..., Evaluator]
) -> None:
    assert evaluator(**changes).settings() != evaluator().settings()
    assert json.loads(json.dumps(evaluator().settings())) == evaluator().settings()


def test_only_the_chosen_lead_times_are_scored_and_their_scores_are_the_same(
    evaluator: Callable[..., Evaluator],
) -> None:
    every, last = evaluator(lead_steps=(1, 2, 3)), evaluator(lead_steps=(3,))
    start = every.starts[1]
    whole, chosen = every.score(start), last.score(start)
    assert list(chosen["lead_times"]) == [18]
    assert chosen["lead_times"][18] == whole["lead_times"][18]
    assert chosen["residuals"] == whole["residuals"]


def test_the_control_has_the_noise_of_the_forecast_and_no_flow(
    forecaster_and_manifest: tuple[Forecaster, Manifest],
) -> None:
    """Without any power, the members of the control are those of the mean alone, so that they have no spread."""
    forecaster, manifest = forecaster_and_manifest
    data = _data(manifest, "2000-12-10T00", 170)
    control = GaussianControl(forecaster, np.zeros((2, 16)))
    subject = Evaluator(forecaster, manifest, data, SETTINGS)
    subject.add_control(control)
    record = subject.score(subject.starts[0])
    assert list(record["control"]) == list(record["lead_times"]) == [6, 12]
    for hours in (6, 12):
        assert record["control"][hours]["scores"]["u10"]["variance"] == 0
        assert record["lead_times"][hours]["scores"]["u10"]["variance"] > 0
        assert set(record["control"][hours]["scores"]["u10"]) == set(record["lead_times"][hours]["scores"]["u10"])


def test_references_are_scored_once_where_another_checkpoint_is_compared(
    evaluator: Callable[..., Evaluator],
) -> None:
    subject = evaluator(references=False)
    record = subject.score(subject.starts[0])["lead_times"][6]["scores"]["u10"]
    assert not {"persistence_mae", "climatology_crps", "spectra_years"} & set(record)


def test_a_control_that_loses_members_is_scored_up_to_there_and_a_forecast_is_refused(
    forecaster_and_manifest: tuple[Forecaster, Manifest], tmp_path: Path
) -> None:
    """A deviation of 10^4 standard deviations is out of the valid range of wind after one step."""
    forecaster, manifest = forecaster_and_manifest
    data = _data(manifest, "2000-12-10T00", 170)
    subject = Evaluator(forecaster, manifest, data, SETTINGS)
    subject.add_control(GaussianControl(forecaster, np.full((2, 16), 1e8)))
    records = _run(subject, tmp_path / "records.jsonl")
    assert [record["control"] for record in records] == [{}, {}, {}]
    result = combine_records(records, SETTINGS, 6, {})
    assert "control" not in result
    assert result["comparisons"] == {}
    scored = records[0] | {"control": {"6": records[0]["lead_times"]["6"]}}
    some = combine_records([records[1], scored, records[2]], SETTINGS, 6, {})
    assert [row["lead_hours"] for row in some["control"]["scores"]["u10"]] == [6]
    (row,) = some["comparisons"]["Gaussian noise, no flow"]["scores"]["u10"]
    assert row["crps_fair"] == {"difference": 0.0, "relative": 0.0}
