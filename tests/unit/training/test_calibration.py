"""Calibration of noise on a planet whose true noise is known: steps from a frame are correlated in time."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from models.testing import tiny_spec, write_tiny_checkpoint
from storage.errors import ConfigurationError
from training.calibration.command import calibrate_checkpoint, check_years
from training.calibration.forecasts import Forecasts
from training.calibration.search import guess_noise, search_noise, search_scales
from training.calibration.trials import Trials, objective, scale_objective
from training.data.sources import load_data_for
from training.evaluation.settings import Evaluation
from training.evaluation.subject import Subject
from warmcast.cli import app
from weather.manifest import NoiseSpec, StartedFrom, read_manifest

pytestmark = pytest.mark.usefixtures("closed_data")

CORRELATION, SCALES = 0.6, (1.25, 1.15)
"""Of the true noise, and of its variables: about h's mean, the newest frame, in units of its standard deviation."""

_FRAMES, _RUNS = 8, 12


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibration") / "tiny"
    write_tiny_checkpoint(folder, trained=False)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two days of 2001, each from calm: the steps between frames are σ of the untrained h times AR(1) noise."""
    spec, draw = tiny_spec(), np.random.default_rng(1)
    grid = spec.grid.grid
    times, frames = [], []
    for number in range(_RUNS):
        z = draw.standard_normal((2, *grid.shape))
        frame = np.zeros((2, *grid.shape))
        for step in range(_FRAMES):
            times.append(np.datetime64("2001-01-10", "ns") + np.timedelta64(24 * 25 * number + 6 * step, "h"))
            frames.append(frame)
            stds = np.log(2) * np.array([variable.std for variable in spec.variables])[:, None, None]
            frame = frame + np.array(SCALES)[:, None, None] * stds * z
            z = CORRELATION * z + np.sqrt(1 - CORRELATION**2) * draw.standard_normal(z.shape)
    values = np.stack(frames).astype(np.float32)
    coordinates = {"time": times, "latitude": list(grid.latitude), "longitude": list(grid.longitude)}
    dimensions = ("time", "latitude", "longitude")
    path = tmp_path_factory.mktemp("data") / "walks.nc"
    xr.Dataset(
        {name: (dimensions, values[:, channel], {"units": "m s-1"}) for channel, name in enumerate(("u10", "v10"))},
        coordinates,
    ).to_netcdf(path)
    return path


def _calibrate(checkpoint: Path, data: Path, *more: object) -> Result:
    options = ["--starts", 6, "--members", 4, "--lead-time", "24h", "--trials", 18]
    options += ["--years", 2001, "--colour-rounds", 0, "--damping-rounds", 0]
    arguments = ["calibrate", checkpoint, "--data", data, *options, *more]
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_noise_of_the_truth_is_found_and_written_with_what_it_was_fitted_on(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    result = _calibrate(checkpoint, data, "--output", tmp_path / "fitted", "--json")
    assert result.exit_code == 0, result.output
    assert "This takes about" in result.stderr
    assert f"{18 * 6 * 4 * 4 * 5:,} evaluations of networks" in result.stderr
    manifest = read_manifest(tmp_path / "fitted")
    noise, receipt = manifest.noise, json.loads(result.stdout)
    assert NoiseSpec.model_validate(receipt["noise"]) == noise
    assert noise.scales(("u10", "v10")) == pytest.approx(SCALES, abs=0.1)
    assert np.mean([noise.correlation_at(step, 6) for step in (1, 2, 3)]) == pytest.approx(CORRELATION, abs=0.12)
    fit = noise.fitted_on
    assert fit is not None
    assert (fit.data, fit.years, fit.starts, fit.members, fit.lead_hours) == ("walks.nc", (2001,), 6, 4, (6, 12, 24))
    assert fit.value < fit.white_value - 0.02
    best = receipt["trials"][0]
    assert best["noise"] == noise.parameters
    assert np.mean([row["spread_skill"] for row in best["lead_times"]]) == pytest.approx(1, abs=0.1)
    before = read_manifest(checkpoint)
    assert manifest.model_copy(update={"noise": before.noise}) == before, "all else is copied"


def test_the_first_guess_is_the_correlation_and_scale_of_true_residuals(checkpoint: Path, data: Path) -> None:
    subject = Subject.load(checkpoint, {})
    with load_data_for(subject.manifest.model, [data]) as frames:
        guess = guess_noise(subject, frames, (2001,))
    assert guess.correlation == pytest.approx(CORRELATION, abs=0.05)
    assert guess.late_correlation == pytest.approx(CORRELATION, abs=0.05)
    scales = np.array(SCALES) / np.sqrt(0.96)
    assert guess.scales(("u10", "v10")) == pytest.approx(scales, abs=0.03), "midpoint has a variance ratio of 0.96"


def test_the_scale_is_fitted_alone_about_the_correlation_of_the_checkpoint(data: Path, tmp_path: Path) -> None:
    kept = NoiseSpec(correlation=0.55, late_correlation=0.65, decay_hours=30, scale=1.02)
    write_tiny_checkpoint(tmp_path / "tiny", trained=False, noise=kept)
    output = tmp_path / "fitted"
    result = _calibrate(tmp_path / "tiny", data, "--output", output, "--scale-only", "--trials", 4)
    assert result.exit_code == 0, result.output
    assert "scale u10 v10" in result.stdout
    noise = read_manifest(output).noise
    assert noise.model_copy(update={"scale": 1.02, "fitted_on": None}) == kept
    assert noise.scales(("u10", "v10")) == pytest.approx(SCALES, abs=0.06)
    assert noise.fitted_on is not None
    assert noise.fitted_on.scale_only
    again = _calibrate(tmp_path / "tiny", data, "--output", tmp_path / "other", "--scale-only", "--trials", 3)
    assert "`trials` must be 0 or at least 4: white noise, and the first 3. Got: 3." in again.stderr
    (tmp_path / "fitted.trials.jsonl").rename(tmp_path / "other.trials.jsonl")
    mixed = _calibrate(tmp_path / "tiny", data, "--output", tmp_path / "other")
    assert mixed.exit_code == 2, "trials of a kept correlation are no trials of all parameters"


def test_starts_of_a_short_record_are_scored_as_long_as_they_have_truth(checkpoint: Path, data: Path) -> None:
    """Of each run of 8 frames, one start has truth 36 h ahead, and 6 have truth 6 h ahead."""
    subject = Subject.load(checkpoint, {})
    evaluation = Evaluation((2001,), 6 * _RUNS, 2, (1, 4, 6), 2, 0, references=False)
    with load_data_for(subject.manifest.model, [data]) as frames:
        trials = Trials(Forecasts(subject, frames, evaluation))
        rows = trials.score(NoiseSpec())["lead_times"]
    assert [(row["lead_hours"], row["starts"]) for row in rows] == [(6, 6 * _RUNS), (24, 3 * _RUNS), (36, _RUNS)]
    assert all(None not in row["crps"] for row in rows)
    assert trials.forecasts.evaluations == _RUNS * (6 + 4 + 4 + 1 + 1 + 1) * 2 * 5


def test_an_interrupted_calibration_continues_to_the_same_noise(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    counts: list[int] = []
    rounds = {"num_colour_rounds": 0, "num_damping_rounds": 0, "num_trials": 8}
    fits = rounds | {"colour_decay_hours": 24.0, "spread_weight": 0.1, "scale_only": False}

    def run(output: Path, report_progress: Callable[[int, int], None]) -> dict[str, Any]:
        return calibrate_checkpoint(
            checkpoint=str(checkpoint),
            checkpoint_folders=(),
            data=[data],
            years=(2001,),
            lead_time="12h",
            num_starts=2,
            num_members=2,
            fits=fits,
            batch_size=None,
            seed=0,
            threads=None,
            output=output,
            in_place=False,
            report_progress=report_progress,
            report_cost=lambda *_: None,
        )

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "resumed", stop)
    assert not (tmp_path / "resumed").exists(), "nothing is written before the end"
    resumed = run(tmp_path / "resumed", lambda done, _: counts.append(done))
    assert counts == [6, 7, 8]
    assert (resumed["noise"], resumed["digest"]) == (whole["noise"], whole["digest"])
    files = [(tmp_path / f"{name}.trials.jsonl").read_bytes() for name in ("whole", "resumed")]
    assert files[0] == files[1]


def test_a_checkpoint_is_changed_in_place_only_with_the_option_for_it(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    before = write_tiny_checkpoint(folder, trained=False)
    few = ("--starts", 1, "--members", 2, "--trials", 7)
    refused = _calibrate(folder, data, *few)
    assert (refused.exit_code, read_manifest(folder)) == (2, before)
    assert "Name a new folder with --output, or change the checkpoint itself with --in-place." in refused.stderr
    result = _calibrate(folder, data, *few, "--in-place")
    assert result.exit_code == 0, result.output
    after = read_manifest(folder)
    assert after.noise.fitted_on is not None
    assert f"SHA-256 {after.digest}" in result.stdout
    assert "The best of " in result.stdout
    taken = _calibrate(folder, data, *few, "--output", folder)
    assert "`output` must be a new folder." in taken.stderr


def test_years_of_the_training_are_refused_before_anything_is_written(
    checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    result = _calibrate(checkpoint, data, "--output", tmp_path / "fitted", "--years", 2000)
    assert result.exit_code == 2
    assert "`years` must be validation years, on which `tiny` was not trained" in result.stderr
    assert list(tmp_path.iterdir()) == []
    manifest = read_manifest(checkpoint)
    earlier = StartedFrom(name="first", digest="a" * 64, data="", attribution="", train_years=(2001,))
    provenance = manifest.provenance.model_copy(update={"started_from": earlier})
    with pytest.raises(ConfigurationError, match="2001 are its training years"):
        check_years(manifest.model_copy(update={"provenance": provenance}), (2001,))
    with pytest.raises(ConfigurationError, match="`years` must be given"):
        check_years(manifest, ())


def _trial(crps: Sequence[Sequence[float | None]], ratios: list[list[float]]) -> dict[str, Any]:
    rows = zip(crps, ratios, (3, 1), strict=True)
    return {"lead_times": [{"crps": c, "spread_skill": r, "starts": starts} for c, r, starts in rows]}


def test_the_objective_is_the_relative_crps_and_the_squared_logarithm_of_spread_over_skill() -> None:
    white = _trial([[2.0, 4.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]])
    other = _trial([[1.0, 4.0], [1.0, 0.5]], [[2.0, 0.5], [1.0, 1.0]])
    assert objective(white, white, 0.3) == 1
    assert objective(other, white, 0.3) == pytest.approx(0.75 + 0.3 * np.log(2) ** 2 * 3 / 4), "3 starts, then 1"
    lost = _trial([[1.0, None], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]])
    assert objective(lost, white, 0.3) == np.inf


def test_the_objective_of_scales_is_of_the_spread_and_of_the_departure_from_true_residuals() -> None:
    trial = _trial([[2.0, 4.0], [1.0, 1.0]], [[2.0, 0.5], [1.0, 1.0]])
    assert scale_objective(trial, (1.1, 0.9), (1.1, 0.9)) == pytest.approx(np.log(2) ** 2 * 3 / 4), "3 starts, then 1"
    departed = scale_objective(trial, (1.2, 0.9), (1.1, 0.9))
    assert departed == pytest.approx(np.log(2) ** 2 * 3 / 4 + np.log(1.2 / 1.1) ** 2 / 2)
    assert (
        scale_objective(_trial([[1.0, None], [1.0, 1.0]], [[1.0, np.nan], [1.0, 1.0]]), (1.0, 1.0), (1.0, 1.0))
        == np.inf
    )


def test_the_search_for_scales_finds_the_minimum_in_few_noises() -> None:
    """Of a spread that depends on both scales, with a slight curvature."""
    tried: list[tuple[float, ...]] = []
    guess = (1.02, 0.99)

    def errors(scales: Sequence[float]) -> np.ndarray:
        u10, v10 = np.log(scales)
        return np.array([0.7 * u10 - 0.1 * v10 - 0.02 + u10**2, 0.5 * v10 + 0.1 * u10 - 0.01])

    def score(noise: NoiseSpec) -> np.ndarray:
        assert (noise.correlation, noise.late_correlation, noise.decay_hours) == (0.3, 0.2, 30)
        tried.append(noise.scales(("u10", "v10")))
        return errors(tried[-1])

    def value(scales: Sequence[float]) -> float:
        return float((errors(scales) ** 2).sum() + (np.log(np.divide(scales, guess)) ** 2).mean())

    noise = NoiseSpec(
        correlation=0.3, late_correlation=0.2, decay_hours=30, scale=dict(zip(("u10", "v10"), guess, strict=True))
    )
    search_scales(score, noise, 10)
    assert len(tried) <= 6
    grid = [(u10, v10) for u10 in np.arange(1.0, 1.04, 0.001) for v10 in np.arange(0.97, 1.01, 0.001)]
    assert min(tried, key=value) == pytest.approx(min(grid, key=value), abs=0.0011)
    tried.clear()
    search_scales(score, noise.model_copy(update={"scale": {"u10": 0.8, "v10": 0.8}}), 4)
    assert len(tried) == 4
    assert np.abs((np.array(tried) / 0.8) ** 2 - 1).max() < 0.052, "as near the guess as the power allows"


def test_the_search_finds_a_minimum_and_tries_no_more_noises_than_it_may() -> None:
    tried: list[NoiseSpec] = []

    def evaluate(noise: NoiseSpec) -> float:
        tried.append(noise)
        late = noise.parameters["late_correlation"]
        u10, v10 = noise.scales(("u10", "v10"))
        return (noise.correlation - 0.5) ** 2 + (late - 0.1) ** 2 + 4 * (u10 - 1.2) ** 2 + 4 * (v10 - 0.9) ** 2

    guess = NoiseSpec(correlation=0.2, late_correlation=0.3, scale={"u10": 1.19, "v10": 0.91})
    search_noise(evaluate, guess, 60)
    scales = np.array([noise.scales(("u10", "v10")) for noise in tried])
    assert np.abs((scales / (1.19, 0.91)) ** 2 - 1).max() < 0.052
    assert len(tried) <= 60
    again = list(tried)
    best = min(again, key=evaluate)
    assert best.correlation == pytest.approx(0.5, abs=0.07)
    assert best.scales(("u10", "v10")) == pytest.approx((1.2, 0.9), abs=0.05)
    tried.clear()
    search_noise(evaluate, guess, 60)
    assert tried == again
