"""The noise of a checkpoint in its manifest, and where a user reads it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.testing import write_tiny_checkpoint
from weather.bundled import find_named_checkpoint
from weather.checkpoint_card import render_card
from weather.checkpoint_report import describe_checkpoint
from weather.errors import CheckpointError
from weather.manifest import WHITE, NoiseFit, NoiseSpec, file_digest, read_manifest

FIT = NoiseFit(
    data="random numbers",
    years=(2001,),
    starts=4,
    members=10,
    lead_hours=(6, 24, 240),
    sampling="midpoint, NFE 4",
    objective="fair CRPS",
    value=0.5,
    white_value=0.52,
)
NOISE = NoiseSpec(correlation=0.6, late_correlation=0.2, decay_hours=48, scale=1.05, fitted_on=FIT)


def test_white_noise_is_left_out_of_a_manifest_and_other_noise_is_read_back(tmp_path: Path) -> None:
    white = write_tiny_checkpoint(tmp_path / "white")
    assert "noise" not in json.loads(white.to_json())
    manifest = write_tiny_checkpoint(tmp_path / "fitted", noise=NOISE)
    assert read_manifest(tmp_path / "fitted") == manifest
    assert manifest.noise == NOISE
    assert manifest.digest != white.digest


def test_the_digest_of_a_bundled_checkpoint_is_that_of_its_file() -> None:
    """A field that is added must not change what was written before."""
    folder = find_named_checkpoint("planet", ())
    assert read_manifest(folder).digest == file_digest(folder / "manifest.json")


@pytest.mark.parametrize(
    "wrong",
    [
        {"correlation": 1.0},
        {"correlation": -0.1},
        {"late_correlation": 1},
        {"decay_hours": 0},
        *({"scale": scale} for scale in (0, -1, 10.5, float("nan"), True, None, "much", [1.0], {}, {1: 1.0})),
        *({"scale": {"u10": 1.0, "v10": scale}} for scale in (0, 11, "much", None, True, {"u10": 1.0})),
    ],
)
def test_noise_that_is_no_normal_process_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        NoiseSpec.model_validate(wrong)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (
            {"u10": 1.1, "v10": 0},
            "`noise.scale` is wrong: it must be a number above 0 and at most 10, or one for each ",
        ),
        ({"u10": 1.1}, "have one for each of the variables u10, v10 and for no other. Got: u10."),
        ({"u10": 1.1, "v10": 1, "t2m": 1}, "variables u10, v10 and for no other. Got: u10, v10, t2m."),
    ],
)
def test_a_manifest_whose_scale_is_not_one_of_its_variables_is_refused(
    scale: dict[str, float], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    write_tiny_checkpoint(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"noise": {"scale": scale}}))
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read_manifest(tmp_path)


def test_a_scale_by_variable_is_read_back_and_is_that_of_each_variable(tmp_path: Path) -> None:
    noise = NoiseSpec(scale={"v10": 1.01, "u10": 1.03})
    written = write_tiny_checkpoint(tmp_path, noise=noise)
    assert json.loads(written.to_json())["noise"]["scale"] == {"v10": 1.01, "u10": 1.03}
    assert read_manifest(tmp_path) == written
    assert written.noise.scales(("u10", "v10")) == (1.03, 1.01)
    assert NoiseSpec(scale=1.05).scales(("u10", "v10")) == (1.05, 1.05)
    with pytest.raises(ValueError, match=r"variables u10, t2m and for no other\. Got: v10, u10"):
        noise.scales(("u10", "t2m"))


def test_a_fit_of_the_scale_alone_is_described_as_one(tmp_path: Path) -> None:
    only = FIT.model_copy(update={"scale_only": True})
    noise = NoiseSpec(correlation=0.3, scale={"u10": 1.03, "v10": 1.01}, fitted_on=only)
    manifest = write_tiny_checkpoint(tmp_path, noise=noise)
    start = "correlation in time 0.3, times 1.03 (u10), 1.01 (v10), scale fitted on random numbers, 2001"
    assert noise.describe().startswith(start)
    assert read_manifest(tmp_path) == manifest
    assert "scale_only" not in FIT.model_dump(), "what was written before keeps its digest"


def test_the_correlation_tends_from_the_first_to_the_late_value_with_lead_time() -> None:
    """It depends on the hours, not on how many time steps they are."""
    assert [NOISE.correlation_at(step, 6) for step in (0, 1)] == [0, 0.6]
    assert NOISE.correlation_at(9, 6) == pytest.approx(0.2 + 0.4 * 0.36788, abs=1e-5)
    assert NOISE.correlation_at(5, 12) == NOISE.correlation_at(9, 6)
    assert NOISE.correlation_at(10**6, 6) == 0.2
    assert {NoiseSpec(correlation=0.3).correlation_at(step, 6) for step in range(1, 9)} == {0.3}


@pytest.mark.parametrize(
    ("noise", "text"),
    [
        (WHITE, "white"),
        (NoiseSpec(scale=1.05), "white, times 1.05"),
        (NoiseSpec(scale={"u10": 1.03, "v10": 1}), "white, times 1.03 (u10), 1 (v10)"),
        (NoiseSpec(correlation=0.3), "correlation in time 0.3"),
        (NOISE, "correlation in time 0.6, tending to 0.2 in 48 h, times 1.05"),
    ],
)
def test_noise_is_described_in_a_few_words(noise: NoiseSpec, text: str) -> None:
    assert str(noise) == text


def test_report_and_card_say_what_the_noise_is_and_what_it_was_fitted_on(tmp_path: Path) -> None:
    manifest = write_tiny_checkpoint(tmp_path, noise=NOISE)
    expected = (
        f"{NOISE}, fitted on random numbers, 2001: 4 starts, 10 members, 6–240 h, midpoint, NFE 4; "
        "fair CRPS 0.5, with white noise 0.52"
    )
    assert describe_checkpoint(tmp_path)["noise"]["summary"] == expected
    card = render_card(manifest, None)
    assert expected[1:] in card
    assert "Each time step takes 5 network evaluations a member, that of the warm start included." in card
