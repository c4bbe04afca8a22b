"""The damping of a checkpoint in its manifest, and where a user reads it."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.testing import tiny_spec, write_tiny_checkpoint
from weather.checkpoint_card import render_card
from weather.checkpoint_report import describe_checkpoint
from weather.damping_spec import DampingFit, DampingSpec
from weather.manifest import ModelSpec, read_manifest

FIT = DampingFit(
    data="random numbers",
    years=(2001,),
    starts=4,
    members=10,
    lead_hours=(24, 240),
    sampling="midpoint, NFE 4",
    deviation=5.25,
    undamped_deviation=11,
)


def _spec(damping: DampingSpec | None) -> ModelSpec:
    return ModelSpec.model_validate(tiny_spec().model_dump() | {"damping": damping})


def test_no_damping_is_left_out_of_a_manifest_and_another_is_read_back(tmp_path: Path) -> None:
    plain = write_tiny_checkpoint(tmp_path / "plain")
    assert "damping" not in json.loads(plain.to_json())["model"]
    manifest = write_tiny_checkpoint(tmp_path / "damped", spec=_spec(_damping()))
    assert read_manifest(tmp_path / "damped") == manifest
    assert manifest.model.damping == _damping()
    assert manifest.digest != plain.digest


def _damping() -> DampingSpec:
    number = tiny_spec().grid.grid.highest_wavenumber + 1
    return DampingSpec(gains=((1.0,) * number, (1.0,) * (number - 3) + (0.99, 0.98, 0.95)), fitted_on=FIT)


@pytest.mark.parametrize("gain", [0.0, 1.01, -0.5, float("nan")])
def test_gains_are_above_zero_and_amplify_nothing(gain: float) -> None:
    with pytest.raises(ValidationError, match=r"gains\.0\.1"):
        DampingSpec(gains=((1.0, gain),))


def test_gains_must_be_those_of_the_variables_and_of_the_grid() -> None:
    number = tiny_spec().grid.grid.highest_wavenumber + 1
    for gains in (((1.0,) * number,), ((1.0,) * number, (1.0,) * (number - 1))):
        with pytest.raises(
            ValidationError, match=f"gains of 2 variables and {number} total wavenumbers. Got: {number}"
        ):
            _spec(DampingSpec(gains=gains))


@pytest.mark.parametrize("name", ["eddy_gains", "shifts"])
def test_values_by_latitude_must_be_those_of_the_variables_and_of_the_grid(name: str) -> None:
    rows = tiny_spec().grid.grid.shape[0]
    for values in (((1.0,) * rows,), ((1.0,) * rows, (1.0,) * (rows - 1))):
        with pytest.raises(ValidationError, match=f"{name} of 2 variables and {rows} latitudes. Got: {rows}"):
            _spec(DampingSpec.model_validate(_damping().model_dump() | {name: values}))


def test_changes_of_latitudes_are_left_out_of_a_manifest_without_any_and_described_in_a_few_words() -> None:
    assert _damping().model_dump().keys() == {"gains", "fitted_on"}
    damping = DampingSpec(gains=((1.0, 1.0),), eddy_gains=((1.0, 0.994),), shifts=((0.02, -0.125),))
    assert str(damping) == "eddies by up to 0.6 %, zonal means shifted by up to 0.12"
    both = damping.model_copy(update={"gains": ((1.0, 0.95),)})
    assert str(both) == "ℓ 1–1, by up to 5 % a time step, " + str(damping)


def test_a_report_and_a_card_say_which_wavenumbers_are_damped_and_on_what_that_was_fitted(tmp_path: Path) -> None:
    last = tiny_spec().grid.grid.highest_wavenumber
    words = f"ℓ {last - 2}–{last}, by up to 5 % a time step"
    fitted = f"{words}, fitted on random numbers, 2001: 4 starts, 10 members, 24–240 h, midpoint, NFE 4; "
    manifest = write_tiny_checkpoint(tmp_path / "damped", spec=_spec(_damping()))
    assert str(_damping()) == words
    report = describe_checkpoint(tmp_path / "damped")
    assert report["damping"]["summary"] == fitted + "Σ|1 − η| 5.25, without damping 11"
    assert f"**Damping.** {report['damping']['summary']}." in render_card(manifest, None)
    plain = write_tiny_checkpoint(tmp_path / "plain")
    assert describe_checkpoint(tmp_path / "plain")["damping"] is None
    assert "Damping" not in render_card(plain, None)
    assert str(DampingSpec(gains=((1.0,),))) == "none"
