"""The colour of a checkpoint's noise in its manifest, and where a user reads it."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.testing import tiny_spec, write_tiny_checkpoint
from weather.checkpoint_card import render_card
from weather.checkpoint_report import describe_checkpoint
from weather.manifest import ModelSpec, read_manifest
from weather.noise_colour import ColourFit, NoiseColour

NUMBER = tiny_spec().grid.grid.highest_wavenumber + 1
FIT = ColourFit(
    data="random numbers",
    years=(2001,),
    starts=240,
    members=8,
    lead_hours=(6,),
    sampling="midpoint, NFE 4",
    deviation=2.111,
    white_deviation=11.9,
)
COLOUR = NoiseColour(gains=((1.0,) * NUMBER, (0.521,) + (1.0,) * (NUMBER - 2) + (2.08,)), fitted_on=FIT)


def _spec(colour: NoiseColour | None) -> ModelSpec:
    return ModelSpec.model_validate(tiny_spec().model_dump() | {"colour": colour})


def test_no_colour_is_left_out_of_a_manifest_and_another_is_read_back(tmp_path: Path) -> None:
    plain = write_tiny_checkpoint(tmp_path / "plain")
    assert "colour" not in json.loads(plain.to_json())["model"]
    manifest = write_tiny_checkpoint(tmp_path / "coloured", spec=_spec(COLOUR))
    assert read_manifest(tmp_path / "coloured") == manifest
    assert manifest.model.colour == COLOUR
    assert manifest.digest != plain.digest
    assert manifest.model.without_fits() == plain.model


@pytest.mark.parametrize("gain", [0.0, 10.1, -0.5, float("nan"), float("inf")])
def test_gains_are_above_zero_and_at_most_ten(gain: float) -> None:
    with pytest.raises(ValidationError, match=r"gains\.0\.1"):
        NoiseColour(gains=((1.0, gain),))


def test_the_time_in_which_the_colour_fades_is_above_zero_and_finite() -> None:
    for hours in (0, -6, float("inf")):
        with pytest.raises(ValidationError, match="decay_hours"):
            NoiseColour(gains=((1.0,),), decay_hours=hours)


@pytest.mark.parametrize("gains", [((1.0,) * NUMBER,), ((1.0,) * NUMBER, (1.0,) * (NUMBER - 1))])
def test_gains_must_be_those_of_the_variables_and_of_the_grid(gains: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValidationError, match=f"gains of 2 variables and {NUMBER} total wavenumbers. Got: {NUMBER}"):
        _spec(NoiseColour(gains=gains))


def test_a_report_and_a_card_say_how_much_the_noise_is_changed_and_on_what_that_was_fitted(tmp_path: Path) -> None:
    words = "noise × 0.52 to 2.08 by wavenumber, tending to 1 with an e-folding time of 24 h"
    fitted = f"{words}, fitted on random numbers, 2001: 240 starts, 8 members, 6 h, midpoint, NFE 4; "
    manifest = write_tiny_checkpoint(tmp_path / "coloured", spec=_spec(COLOUR))
    assert str(COLOUR) == words
    report = describe_checkpoint(tmp_path / "coloured")
    assert report["colour"]["summary"] == fitted + "Σ|1 − η| of residuals 2.11, without colour 11.9"
    assert f"**Colour.** {report['colour']['summary']}." in render_card(manifest, None)
    plain = write_tiny_checkpoint(tmp_path / "plain")
    assert describe_checkpoint(tmp_path / "plain")["colour"] is None
    assert "Colour" not in render_card(plain, None)
