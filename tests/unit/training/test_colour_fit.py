"""The fit of a colour, on residuals that are known and on a planet whose weather is smoother than white noise."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from models.testing import tiny_spec, write_tiny_checkpoint
from tests.unit.training.smooth_weather import FIRST_WEAK, WEAK_POWER, calibrate
from training.calibration.colour_rounds import first_colour, next_colour
from warmcast.cli import app
from weather.manifest import NoiseSpec, read_manifest
from weather.noise_colour import NoiseColour

pytestmark = pytest.mark.usefixtures("closed_data")

_SPEC = tiny_spec()
_NUMBER = _SPEC.grid.grid.highest_wavenumber + 1


def _round(gains: Any, excess: Any, error: float = 0.0) -> Mapping[str, Any]:
    excess = np.array(excess)
    errors = np.full(excess.shape, error).tolist()
    colour = {"gains": np.array(gains).tolist(), "decay_hours": 24.0}
    return {"colour": colour, "excess": excess.tolist(), "error": errors}


def test_the_gains_come_to_where_the_power_of_residuals_is_the_truths() -> None:
    """Power of residuals that grows with the gain, but less than as its square."""
    truth, gains = np.array([[0.3, 0.8, 1.0, 1.7]]), np.ones((1, 4))
    for _ in range(12):
        colour = next_colour(_round(gains, np.log(0.1 + 0.9 * gains**2) - np.log(truth)))
        if colour is None:
            break
        gains = np.array(colour.gains)
    np.testing.assert_allclose(0.1 + 0.9 * gains**2, truth, rtol=5e-3)


def test_excess_within_its_sampling_error_is_left_as_it_is_and_gains_have_bounds() -> None:
    colour = next_colour(_round([[1.0, 1.5, 1.0, 1.0]], [[0.1, -0.1, 0.5, -9.0]], error=0.2))
    assert colour is not None
    np.testing.assert_allclose(colour.gains, [[1, 1.5, np.exp(-0.15), 4]], atol=1e-3)
    assert next_colour(_round([[1.0, 1.5]], [[0.1, -0.1]], error=0.2)) is None
    assert next_colour(_round([[1.0]], [[9.0]])) == NoiseColour(gains=((0.25,),))


def _calibrate(checkpoint: Path, data: Path, *more: object) -> Result:
    options = ("--starts", 3, "--members", 3, "--damping-rounds", 0, "--trials", 0)
    return calibrate(checkpoint, data, *options, *more)


def test_members_residuals_get_the_power_of_the_truths_at_each_wavenumber(runs: Path, tmp_path: Path) -> None:
    own = NoiseColour(gains=((3.0,) * _NUMBER,) * 2)
    noise = NoiseSpec(correlation=0.4, scale=1.1)
    spec = _SPEC.model_copy(update={"colour": own})
    before = write_tiny_checkpoint(tmp_path / "tiny", trained=False, noise=noise, spec=spec)
    options = ("--colour-rounds", 4, "--colour-decay-hours", 18)
    result = _calibrate(tmp_path / "tiny", runs, "--output", tmp_path / "fitted", *options, "--json")
    assert result.exit_code == 0, result.output
    receipt, manifest = json.loads(result.stdout), read_manifest(tmp_path / "fitted")
    colour, rounds = manifest.model.colour, receipt["colour_rounds"]
    assert colour is not None
    assert rounds[0]["colour"] == first_colour(_SPEC, 18.0).model_dump(mode="json", exclude={"fitted_on"})
    gains, degrees = np.array(colour.gains), slice(FIRST_WEAK, _NUMBER - 3)
    expected = np.sqrt(WEAK_POWER / 0.96) / 1.1
    assert gains[:, degrees].mean() == pytest.approx(expected, rel=0.1), "midpoint has a variance ratio of 0.96"
    fit = colour.fitted_on
    assert fit is not None
    assert (fit.starts, fit.members, fit.lead_hours, fit.data) == (60, 3, (6,), "smooth.nc")
    assert fit.deviation < 0.25 * fit.white_deviation == 0.25 * rounds[0]["deviation"]
    assert colour.decay_hours == 18
    assert str(colour) in receipt["summary"]
    assert manifest.model_copy(update={"model": before.model}) == before, "all else is copied"
    assert f"{4 * 60 * (3 * 5 + 1):,} evaluations of networks" in result.stderr


def test_an_interrupted_fit_continues_with_groups_of_any_size_and_no_rounds_leave_the_colour(
    runs: Path, tmp_path: Path
) -> None:
    own = NoiseColour(gains=((0.9,) * _NUMBER,) * 2)
    write_tiny_checkpoint(tmp_path / "tiny", trained=False, spec=_SPEC.model_copy(update={"colour": own}))
    for name, size in (("whole", 3), ("resumed", 2)):
        if name == "resumed":  # as if it had been killed while it wrote the second round
            whole = (tmp_path / "whole.colour.jsonl").read_text().splitlines(keepends=True)
            (tmp_path / "resumed.colour.jsonl").write_text("".join(whole[:2]) + whole[2][:20])
        options = ("--output", tmp_path / name, "--colour-rounds", 3, "--batch-size", size)
        result = _calibrate(tmp_path / "tiny", runs, *options)
        assert result.exit_code == 0, result.output
        assert "Colour, round 2: Σ|1 − η| of residuals" in result.stdout
    found = [np.array((read_manifest(tmp_path / name).model.colour or own).gains) for name in ("whole", "resumed")]
    np.testing.assert_allclose(*found, atol=2e-3)
    result = _calibrate(tmp_path / "tiny", runs, "--output", tmp_path / "kept", "--colour-rounds", 0)
    assert (result.exit_code, "so that nothing is fitted" in result.stderr) == (2, True)
    result = _calibrate(
        tmp_path / "tiny", runs, "--output", tmp_path / "kept", "--colour-rounds", 0, "--damping-rounds", 1
    )
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "kept").model.colour == own
    assert not (tmp_path / "kept.colour.jsonl").exists()


def test_too_few_frames_have_no_sampling_error_and_are_refused_before_anything_is_computed(
    runs: Path, tmp_path: Path
) -> None:
    write_tiny_checkpoint(tmp_path / "tiny", trained=False)
    options = ("--output", tmp_path / "fitted", "--colour-rounds", 1, "--years", "2001-01-10/2001-01-10T12")
    result = CliRunner().invoke(
        app, [str(each) for each in ("calibrate", tmp_path / "tiny", "--data", runs, "--trials", 0, *options)]
    )
    assert result.exit_code == 2
    text = " ".join(result.stderr.split())
    assert "`years` must have 2 or more frames with one a time step later, from which the colour is fitted" in text
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".jsonl" and path.stat().st_size]
