"""The fit of a damping, on power that is known and on a planet whose weather has less of it than forecasts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from models.testing import tiny_spec, write_tiny_checkpoint
from tests.unit.training.smooth_weather import FIRST_WEAK, calibrate
from training.calibration.damping_rounds import next_damping
from weather.damping_spec import DampingSpec
from weather.manifest import NoiseSpec, read_manifest

_SPEC = tiny_spec()
_NUM_DEGREES = _SPEC.grid.grid.highest_wavenumber + 1


def _round(error: float = 0.0, **parts: tuple[Any, Any]) -> Mapping[str, Any]:
    """Return a round with values and excess of the parts of a damping; others change nothing and fit."""
    still: dict[str, tuple[Any, Any]] = {"gains": ([[1.0]], [[0.0]]), "eddy_gains": ([[1.0]], [[0.0]])}
    known = still | {"shifts": ([[0.0]], [[0.0]])} | parts
    return {
        "damping": {name: np.array(values).tolist() for name, (values, _) in known.items()},
        "excess": {name: np.array(excess).tolist() for name, (_, excess) in known.items()},
        "error": {name: np.full(np.shape(values), error).tolist() for name, (values, _) in known.items()},
    }


@pytest.mark.parametrize("name", ["gains", "eddy_gains"])
def test_the_gains_come_to_where_power_that_is_added_and_kept_is_the_truths(name: str) -> None:
    """Power of a state that keeps a share of its power from step to step: P = s / (1 − g²·a)."""
    kept, added = np.array([[0.2, 0.8, 0.9, 0.95, 0.98]]), np.array([[0.7, 0.3, 0.14, 0.1, 0.005]])

    def log_ratio(gains: Any) -> Any:
        return np.log(added / (1 - np.array(gains) ** 2 * kept))

    rounds = [_round(**{name: (np.ones((1, 5)), log_ratio(np.ones((1, 5))))})]
    while len(rounds) < 12 and (damping := next_damping(rounds)) is not None:
        gains = getattr(damping, name)
        rounds.append(_round(**{name: (gains, log_ratio(gains))}))
    assert next_damping(rounds) is None, "gains that fit stay"
    excess = np.array(rounds[0]["excess"][name])
    np.testing.assert_allclose(np.array(rounds[-1]["excess"][name])[excess > 0], 0, atol=0.02)
    np.testing.assert_array_equal(np.array(rounds[-1]["damping"][name])[excess <= 0], 1)


def test_the_shifts_come_to_where_zonal_means_that_drift_and_are_restored_are_the_truths() -> None:
    """Bias of a zonal mean that drifts by d a step and keeps a share a of its distance: b = (d + shift) / (1 − a)."""
    drift, kept = np.array([[0.05, -0.02, 0.0]]), np.array([[0.97, 0.9, 0.95]])
    shifts = np.zeros((1, 3))
    rounds = [_round(shifts=(shifts, drift / (1 - kept)))]
    while len(rounds) < 12 and (damping := next_damping(rounds)) is not None:
        assert damping.shifts is not None
        shifts = np.array(damping.shifts)
        rounds.append(_round(shifts=(shifts, (drift + shifts) / (1 - kept))))
    np.testing.assert_allclose(shifts, -drift, atol=2e-3)


def test_excess_within_its_sampling_error_is_left_as_it_is_and_gains_have_bounds() -> None:
    ones, excess = np.ones((2, 3)), [[0.1, 0.1, 20.0], [-3.0, 0.0, 0.3]]
    damping = next_damping([_round(0.06, gains=(ones, excess), eddy_gains=(ones, excess), shifts=(0 * ones, excess))])
    assert damping is not None
    np.testing.assert_allclose(damping.gains, [[1, 1, 0.5], [1, 1, np.exp(-0.18 / 20)]], atol=1e-4)
    np.testing.assert_allclose(damping.eddy_gains or (), [[0.999, 0.999, 0.6074], [1, 1, 0.994]], atol=1e-4)
    np.testing.assert_allclose(damping.shifts or (), [[-0.002, -0.002, -0.997], [0.147, 0, -0.012]], atol=1e-4)


def _calibrate(checkpoint: Path, data: Path, *more: object) -> Result:
    options = ("--starts", 10, "--members", 4, "--colour-rounds", 0, "--trials", 7)
    return calibrate(checkpoint, data, *options, *more)


def test_wavenumbers_with_too_much_power_are_damped_before_the_noise_is_fitted(runs: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "tiny", trained=False)
    result = _calibrate(tmp_path / "tiny", runs, "--output", tmp_path / "fitted", "--damping-rounds", 4, "--json")
    assert result.exit_code == 0, result.output
    receipt, manifest = json.loads(result.stdout), read_manifest(tmp_path / "fitted")
    damping, rounds = manifest.model.damping, receipt["damping_rounds"]
    assert damping is not None
    fit = damping.fitted_on
    assert fit is not None
    gains = np.array(damping.gains)
    assert gains[:, FIRST_WEAK:].mean() < 0.9
    assert gains[:, 2:FIRST_WEAK].mean() > 0.97
    assert (fit.starts, fit.members, fit.lead_hours, fit.data) == (10, 4, (24,), "smooth.nc")
    assert fit.deviation < 0.4 * fit.undamped_deviation == 0.4 * rounds[0]["deviation"]
    unfitted = damping.model_copy(update={"fitted_on": None})
    assert unfitted in [DampingSpec.model_validate(each["damping"]) for each in rounds]
    assert receipt["digest"] == manifest.digest
    assert str(damping) in receipt["summary"]
    assert manifest.noise.fitted_on is not None


def test_an_interrupted_fit_continues_and_no_rounds_leave_the_damping_of_the_checkpoint(
    runs: Path, tmp_path: Path
) -> None:
    few = ("--starts", 3, "--members", 2)
    own = DampingSpec(gains=((0.9,) * _NUM_DEGREES,) * 2)
    write_tiny_checkpoint(tmp_path / "tiny", trained=False, spec=_SPEC.model_copy(update={"damping": own}))
    for name in ("whole", "resumed"):
        if name == "resumed":  # as if it had been killed while it wrote the third round
            whole = (tmp_path / "whole.damping.jsonl").read_text().splitlines(keepends=True)
            (tmp_path / "resumed.damping.jsonl").write_text("".join(whole[:3]) + whole[3][:20])
        assert (
            _calibrate(tmp_path / "tiny", runs, "--output", tmp_path / name, "--damping-rounds", 3, *few).exit_code == 0
        )
    assert read_manifest(tmp_path / "resumed") == read_manifest(tmp_path / "whole")
    files = [(tmp_path / f"{name}.damping.jsonl").read_bytes() for name in ("whole", "resumed")]
    assert files[0] == files[1]
    result = _calibrate(tmp_path / "tiny", runs, "--output", tmp_path / "kept", "--damping-rounds", 0, *few)
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "kept").model.damping == own
    assert not (tmp_path / "kept.damping.jsonl").exists()


def test_no_trials_leave_the_noise_of_the_checkpoint_and_fewer_than_a_simplex_needs_are_refused(
    runs: Path, tmp_path: Path
) -> None:
    noise = NoiseSpec(correlation=0.4, late_correlation=0.2)
    write_tiny_checkpoint(tmp_path / "tiny", trained=False, noise=noise)
    options = ("--output", tmp_path / "damped", "--starts", 3, "--members", 2, "--damping-rounds", 2)
    few = _calibrate(tmp_path / "tiny", runs, *options, "--trials", 6)
    assert (few.exit_code, "`trials` must be 0 or at least 7: white noise, and the first 6. Got: 6." in few.stderr) == (
        2,
        True,
    )
    nothing = _calibrate(tmp_path / "tiny", runs, *options, "--trials", 0, "--damping-rounds", 0)
    assert (nothing.exit_code, "so that nothing is fitted" in nothing.stderr) == (2, True)
    assert [each.name for each in tmp_path.iterdir()] == ["tiny"]
    result = _calibrate(tmp_path / "tiny", runs, *options, "--trials", 0)
    assert result.exit_code == 0, result.output
    manifest = read_manifest(tmp_path / "damped")
    assert (manifest.noise, manifest.model.damping is None) == (noise, False)
    assert "The best of" not in result.stdout
    assert not (tmp_path / "damped.trials.jsonl").exists()


def test_a_single_start_has_no_sampling_error_and_is_refused_before_anything_is_computed(
    runs: Path, tmp_path: Path
) -> None:
    write_tiny_checkpoint(tmp_path / "tiny", trained=False)
    result = _calibrate(tmp_path / "tiny", runs, "--output", tmp_path / "fitted", "--starts", 1)
    assert result.exit_code == 2
    text = " ".join(result.stderr.split())
    assert "`starts` must be 2 or more with truth at 24 h or later, from which the damping is fitted. Got: 1." in text
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".jsonl" and path.stat().st_size]
