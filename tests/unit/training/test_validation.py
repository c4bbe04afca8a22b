import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from diagnostics.scores.residuals import time_correlation
from diagnostics.scores.spectra import spherical_spectrum
from models.networks import Networks, build_networks
from models.testing import tiny_spec
from models.warm_start import WarmStart
from tests.unit.training.tiny import tiny_config
from training.config import TrainingConfig
from training.data.loading import load_training_data
from training.data.training_data import TrainingData
from training.validation import Validator
from training.validation_config import ValidationConfig
from training.validation_records import Scores
from weather.errors import TrainingDataError

CPU = torch.device("cpu")
PAGE = (Path(__file__).parents[3] / "docs/validation.md").read_text()
SIGMA = math.log(2)
"""Standard deviation of an untrained h, in normalised units; its mean is the newest frame."""


def _config(**validation: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(tiny_config(validation=tiny_config()["validation"] | validation))


def _load(files: list[Path], config: TrainingConfig) -> TrainingData:
    return load_training_data(
        files,
        config.variables,
        time_step_hours=config.time_step_hours,
        context_frames=config.context_frames,
        static_fields=config.static_fields,
        features=config.features,
    )


@pytest.fixture(scope="module")
def data(two_years: list[Path]) -> TrainingData:
    return _load(two_years, _config())


def _untrained(seed: int = 0) -> Networks:
    """Return networks as they are before training: h is persistence with a constant spread, p' keeps its noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spec = tiny_spec().model_copy(update={"features": ("sin_latitude",)})
        return build_networks(spec, torch.zeros(1, *spec.grid.grid.shape)).eval()


class _Scaled(WarmStart):
    """A warm start whose mean is the newest frame times a number."""

    def __init__(self, factor: float, std: float = 0.1) -> None:
        nn.Module.__init__(self)
        self.factor, self.std = factor, std

    def forward(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        newest = context[:, :2]
        return self.factor * newest, torch.full_like(newest, self.std)


def _changes(data: TrainingData, config: TrainingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return frames of the validation years and the changes to the next ones, of all samples."""
    indices = data.sample_indices(config.data.validation_years)
    frames, following = data.frames(indices), data.frames(data.shift(indices, 1))
    return frames, following - frames


def test_scores_of_an_untrained_h_are_those_of_persistence(data: TrainingData) -> None:
    config = _config(samples=1000, starts=1, lead_times=["9d"])
    scores = Validator(config, data, CPU).validate(_untrained(), with_flow=False)
    _, changes = _changes(data, config)
    weights = data.grid.area_weights[:, None]
    assert scores["mae_u10"] == pytest.approx(float((np.abs(changes[:, 0]) * weights).mean()), rel=1e-4)
    z = changes / np.array([6.0, 5.0])[:, None, None] / SIGMA
    nll = (0.5 * z**2).mean() + math.log(SIGMA) + 0.5 * math.log(2 * math.pi)
    assert scores["nll"] == pytest.approx(nll, rel=1e-4)
    for lag in (1, 2):
        expected = time_correlation(z[:36][:-lag], z[:36][lag:], data.grid.area_weights)
        for name, value in zip(config.variables, expected, strict=True):
            assert scores[f"residual_correlation_truth_{6 * lag}h_{name}"] == pytest.approx(value, rel=1e-3)


def test_the_forecast_of_untrained_networks_is_white_noise_about_persistence(data: TrainingData) -> None:
    config = _config(starts=4, members=40, lead_times=["6h", "12h"])
    scores = Validator(config, data, CPU).validate(_untrained(), with_flow=True)
    validator = Validator(config, data, CPU)
    run = data.batch(validator.starts)
    errors = (run.target - run.frames[0]).numpy()
    weights = data.grid.area_weights[:, None]
    for channel, (name, std) in enumerate((("u10", 6.0), ("v10", 5.0))):
        spread, error = SIGMA * std, errors[:, channel]
        z = torch.from_numpy(error / spread)
        density, below = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), torch.special.ndtr(z)
        crps = spread * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi)).numpy()
        assert scores[f"crps_6h_{name}"] == pytest.approx(float((crps * weights).mean()), rel=0.03)
        ratio = spread / math.sqrt(float((error**2 * weights).mean()))
        assert scores[f"spread_skill_6h_{name}"] == pytest.approx(ratio, rel=0.1)
        assert scores[f"residual_correlation_members_6h_{name}"] == pytest.approx(0, abs=0.05)
    crps = [float(scores[f"crps_12h_{name}"]) / std for name, std in (("u10", 6.0), ("v10", 5.0))]
    assert scores["crps_12h"] == pytest.approx(sum(crps) / 2)


def test_the_spectrum_of_residuals_is_that_of_members_over_that_of_truth(data: TrainingData) -> None:
    config = _config(starts=4, members=20, lead_times=["6h"])
    validator = Validator(config, data, CPU)
    scores = validator.validate(_untrained(), with_flow=True)
    run = data.batch(validator.starts)
    z = (run.target - run.frames[0]).numpy()[:, 0] / 6.0 / SIGMA
    truth = spherical_spectrum(z, data.grid).mean(axis=0)
    white = np.random.default_rng(0).normal(size=(80, *data.grid.shape))
    expected = spherical_spectrum(white, data.grid).mean(axis=0) / truth
    eta = np.array(scores["residual_eta_u10"])
    np.testing.assert_allclose(eta[2:], expected[2:], rtol=0.25)
    assert scores["residual_deviation_u10"] == pytest.approx(np.abs(1 - eta).sum())


@pytest.mark.parametrize("factor", [1.0, 1.054])
def test_the_growth_rate_is_the_factor_of_a_linear_mean(factor: float, data: TrainingData) -> None:
    networks = replace(_untrained(), warm_start=_Scaled(factor))
    scores = Validator(_config(starts=1, growth_days=50), data, CPU).validate(networks, with_flow=False)
    assert scores["growth_rate"] == pytest.approx(factor, abs=1e-3)


def test_validation_repeats_exactly_and_draws_from_no_global_generator(data: TrainingData) -> None:
    validator = Validator(_config(), data, CPU)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = validator.validate(_untrained(), with_flow=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert Validator(_config(), data, CPU).validate(_untrained(), with_flow=True) == first
    of_h = validator.validate(_untrained(), with_flow=False)
    assert of_h == {name: first[name] for name in of_h}
    assert set(first) - set(of_h) == {name for name in first if name.startswith(("crps", "spread", "flow"))} | {
        name for name in first if name.startswith("residual") and "truth" not in name
    }


def test_every_score_that_may_choose_weights_is_computed_and_every_score_is_documented(data: TrainingData) -> None:
    config = _config()
    scores = Validator(config, data, CPU).validate(_untrained(), with_flow=True)
    names = config.validation.selectable(config.variables, config.time_step_hours)
    assert set(names) <= {name for name, value in scores.items() if isinstance(value, float)}
    documented = set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.M))
    assert {re.sub(r"_\d+h", "_6h", name).replace("v10", "u10") for name in scores} == documented


def test_the_defaults_are_documented() -> None:
    (block,) = re.findall(r"```yaml\nvalidation:\n(.*?)```", PAGE, flags=re.S)
    assert ValidationConfig.model_validate(yaml.safe_load(block)) == ValidationConfig()
    assert set(yaml.safe_load(block)) == set(ValidationConfig.model_fields)


def test_better_forecasts_have_lower_scores(data: TrainingData) -> None:
    validator = Validator(_config(), data, CPU)

    def score(factor: float) -> Scores:
        return validator.validate(replace(_untrained(), warm_start=_Scaled(factor)), with_flow=True)

    good, bad = score(1.0), score(2.0)
    for name in _config().validation.selectable(("u10", "v10"), 6):
        if name != "flow_loss" and not name.startswith("residual_deviation"):
            assert good[name] < bad[name], name


class _Recorder(TrainingData):
    """The same data, which records the indices of the frames that are read."""

    def __init__(self, data: TrainingData) -> None:
        self.__dict__.update(data.__dict__)
        self.reads: list[np.ndarray] = []

    def frames(self, indices: np.ndarray) -> np.ndarray:
        self.reads.append(np.asarray(indices))
        return super().frames(indices)


def test_only_the_validation_years_are_read(data: TrainingData) -> None:
    recorder = _Recorder(data)
    Validator(_config(), recorder, CPU).validate(_untrained(), with_flow=True)
    years = data.valid_times[np.concatenate(recorder.reads)].astype("datetime64[Y]")
    assert set(years.astype(int) + 1970) == {2001}


@pytest.mark.parametrize(("memory_gib", "reads_again"), [(1.0, False), (1e-4, True)])
def test_streamed_frames_are_read_once_if_they_need_little_memory(
    memory_gib: float, reads_again: bool, data: TrainingData
) -> None:
    config = TrainingConfig.model_validate(tiny_config(data=tiny_config()["data"] | {"memory_gib": memory_gib}))
    recorder = _Recorder(data)
    validator = Validator(config, recorder, CPU)
    first = validator.validate(_untrained(), with_flow=True)
    num_reads = len(recorder.reads)
    assert validator.validate(_untrained(), with_flow=True) == first
    assert len(recorder.reads) == num_reads * (2 if reads_again else 1)


def test_a_lost_member_makes_its_scores_nan_and_no_others(data: TrainingData) -> None:
    networks = replace(_untrained(), warm_start=_Scaled(1.0, std=100.0))
    scores = Validator(_config(), data, CPU).validate(networks, with_flow=True)
    assert math.isnan(float(scores["crps_18h"]))
    assert math.isfinite(float(scores["nll"]))
    assert math.isfinite(float(scores["growth_rate"]))


@pytest.mark.parametrize(("step", "frames"), [(12, 2), (6, 3)])
def test_other_time_steps_and_longer_contexts_are_validated(step: int, frames: int, two_years: list[Path]) -> None:
    changes = {
        "time_step_hours": step,
        "context_frames": frames,
        "validation": {"starts": 1, "members": 2, "growth_days": 3},
    }
    config = TrainingConfig.model_validate(tiny_config(**changes))
    data = _load(two_years, config)
    spec = tiny_spec().model_copy(
        update={"features": ("sin_latitude",), "time_step_hours": step, "context_frames": frames}
    )
    networks = build_networks(spec, torch.zeros(1, *spec.grid.grid.shape)).eval()
    scores = Validator(config, data, CPU).validate(networks, with_flow=True)
    assert {f"crps_{step}h", "crps_72h", f"residual_correlation_truth_{2 * step}h_u10"} <= set(scores)
    assert scores["growth_rate"] == pytest.approx(1)


def test_years_without_truth_at_the_last_lead_time_are_refused(data: TrainingData) -> None:
    with pytest.raises(TrainingDataError, match=r"`data\.validation_years` 2001 must have .* and 480 hours"):
        Validator(_config(lead_times=["20d"]), data, CPU)
