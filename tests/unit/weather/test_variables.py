import itertools

import pytest

from weather.variables import DEFAULT_VARIABLES, KNOWN, accepted_units, conversion


def _convert(value: float, units: str, canonical: str) -> float:
    factor, offset = conversion(units, canonical) or pytest.fail(f"{units} is not known")
    return value * factor + offset


@pytest.mark.parametrize(
    ("value", "units", "canonical", "expected"),
    [
        (3600.0, "knots", "m s-1", 1852.0),
        (3600.0, "kt", "m s-1", 1852.0),
        (36.0, "km/h", "m s-1", 10.0),
        (36.0, "km h-1", "m s-1", 10.0),
        (7.5, "m s**-1", "m s-1", 7.5),
        (0.0, "degC", "K", 273.15),
        (-273.15, "celsius", "K", 0.0),
        (288.0, "K", "K", 288.0),
        (1013.25, "hPa", "Pa", 101325.0),
        (1000.0, "mbar", "Pa", 1e5),
    ],
)
def test_units_are_converted(value: float, units: str, canonical: str, expected: float) -> None:
    assert _convert(value, units, canonical) == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("spelling", ["Knots", " knots ", "KNOTS"])
def test_case_and_surrounding_space_of_a_unit_do_not_matter(spelling: str) -> None:
    assert conversion(spelling, "m s-1") == conversion("knots", "m s-1")


@pytest.mark.parametrize("units", ["", "K", "1", "m", "s", "unknown"])
def test_a_unit_of_something_else_is_not_converted(units: str) -> None:
    assert conversion(units, "m s-1") is None


def test_every_accepted_spelling_is_converted_and_the_canonical_one_is_unchanged() -> None:
    for canonical in {variable.units for variable in KNOWN.values()}:
        assert conversion(canonical, canonical) == (1.0, 0.0)
        assert [units for units in accepted_units(canonical) if conversion(units, canonical) is None] == []


def test_no_alias_and_no_grib_number_names_two_variables() -> None:
    for one, other in itertools.combinations(KNOWN.values(), 2):
        assert set(one.aliases).isdisjoint(other.aliases)
        assert one.param_id != other.param_id


def test_aliases_are_case_folded() -> None:
    aliases = [alias for variable in KNOWN.values() for alias in variable.aliases]
    assert aliases == [alias.casefold() for alias in aliases]


def test_every_variable_is_found_under_its_own_name() -> None:
    assert [name for name, variable in KNOWN.items() if name != variable.name or name not in variable.aliases] == []


def test_only_winds_are_vectors_with_a_range_that_is_symmetric() -> None:
    vectors = {name for name, variable in KNOWN.items() if variable.is_vector}
    assert vectors == {"u10", "v10"} == set(DEFAULT_VARIABLES)
    assert all(KNOWN[name].valid_range[0] == -KNOWN[name].valid_range[1] for name in vectors)
