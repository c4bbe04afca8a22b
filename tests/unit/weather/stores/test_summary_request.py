import pytest
from pydantic import ValidationError

from storage.errors import ConfigurationError
from weather.stores.summary_request import Summary, Threshold


def test_the_default_is_the_probability_of_a_gale_if_there_is_wind() -> None:
    assert Summary().with_defaults(("u10", "v10")).exceedance == (Threshold(variable="wind_speed_10m", value=17.2),)
    assert Summary().with_defaults(("u10", "msl")).exceedance == ()


def test_thresholds_and_quantiles_are_sorted_without_duplicates() -> None:
    thresholds = [{"variable": "v10", "value": 3.0}, {"variable": "u10", "op": "<", "value": 1.0}]
    summary = Summary.model_validate({"quantiles": [0.9, 0.1], "exceedance": thresholds * 2}).with_defaults(
        ("u10", "v10")
    )
    assert summary.quantiles == (0.1, 0.9)
    below, above = Threshold(variable="u10", op="<", value=1.0), Threshold(variable="v10", op=">", value=3.0)
    assert summary.exceedance == (below, above)
    assert summary.with_defaults(("u10", "v10")) == summary


def test_a_threshold_of_a_missing_variable_is_refused() -> None:
    request = Summary(exceedance=(Threshold(variable="u10", value=10.0), Threshold(variable="msl", value=1e5)))
    with pytest.raises(ConfigurationError, match=r"may name u10, v10, wind_speed_10m. Got: 'msl'") as caught:
        request.with_defaults(("u10", "v10"))
    assert caught.value.location == ("exceedance", 1, "variable")


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantiles": [1.1]},
        {"quantiles": [float("nan")]},
        {"quantiles": [0.5, 0.5]},
        {"quantiles": [i / 21 for i in range(21)]},
        {"exceedance": [{"variable": "u10", "op": ">=", "value": 1.0}]},
        {"exceedance": [{"variable": "u10", "value": float("inf")}]},
        {"exceedance": [{"variable": "u10", "value": 1.0}] * 21},
        {"means": True},
    ],
)
def test_every_field_has_its_bounds(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Summary.model_validate(wrong)
