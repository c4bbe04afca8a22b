from pathlib import Path

import pytest

from storage.errors import ConfigurationError
from training.evaluation.subject import load_subjects, parse_sampler


def test_a_sampler_is_a_list_of_values_of_known_fields() -> None:
    assert parse_sampler("solver=euler, nfe = 4") == {"solver": "euler", "nfe": "4"}
    assert parse_sampler("correlation=0,scale=1.05") == {"correlation": "0", "scale": "1.05"}
    assert parse_sampler("scale.u10=1.03,scale.v10=1") == {"scale": {"u10": "1.03", "v10": "1"}}
    for text in ("euler", "steps=4", "nfe=", "fitted_on=x", "nfe:4", "scale.=1", "nfe.u10=4", ".u10=1"):
        with pytest.raises(ConfigurationError, match=r"`against_sampler` must be a list such as solver=euler,nfe=4"):
            parse_sampler(text)


def test_the_other_has_its_own_sampler_and_noise(untrained_checkpoint: Path) -> None:
    folder = str(untrained_checkpoint)
    subject, other = load_subjects(folder, (), {"nfe": 2}, None, "solver=euler,nfe=3,correlation=0.25")
    assert other is not None
    assert (subject.forecaster.sampling.solver, subject.forecaster.sampling.nfe) == ("midpoint", 2)
    assert (other.forecaster.sampling.solver, other.forecaster.sampling.nfe) == ("euler", 3)
    assert (subject.manifest.noise.correlation, other.manifest.noise.correlation) == (0, 0.25)
    assert other.describe() == "untrained, euler, NFE 3, noise correlation in time 0.25"
    assert load_subjects(folder, (), {}, None, None)[1] is None
    scaled = load_subjects(folder, (), {}, None, "scale.u10=1.03,scale.v10=1")[1]
    assert scaled is not None
    assert scaled.manifest.noise.scale == {"u10": 1.03, "v10": 1}


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ("warmth=1", "must be another checkpoint, or `against_sampler` another sampler"),
        ("nfe=3", "must be a positive multiple of 2"),
        ("correlation=2", "correlation` is wrong"),
        (
            "scale.u10=1.03",
            r"`noise.scale` must be one number, or have one for each of the variables u10, v10 .* u10\.",
        ),
        ("scale.u10=0,scale.v10=1", "`scale` is wrong: it must be a number above 0 and at most 10"),
    ],
)
def test_the_same_and_wrong_samplers_are_refused(sampler: str, message: str, untrained_checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_subjects(str(untrained_checkpoint), (), {}, None, sampler)
