import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather.units import accepted_units, conversion
from weather.variables import KNOWN

KNOT = 1852 / 3600


def _convert(value: float, units: str, canonical: str) -> float:
    factor, offset = conversion(units, canonical) or pytest.fail(f"{units} is not known")
    return value * factor + offset


@pytest.mark.parametrize(
    "units",
    [
        *(
            "m s-1",
            "m s**-1",
            "m/s",
            "m / s",
            "m/sec",
            "m sec-1",
            "meter second-1",
            "metre second-1",
            "m s^{-1}",
            "m s^-1",
        ),
        *("meters per second", "metre per second", "Meters/Second", "meter/sec", "m.s-1", "m·s⁻¹", "m s⁻¹", "M/S"),
        *(
            "m*s**-1",
            "m * s ** -1",
            "m s-1 ",
            "s-1 m",
            "m/(s)",
            "mps",
            "ms-1",
            "ms**-1",
            "1 m s-1",
            "m1 s-1",
            "m s**(-1)",
        ),
    ],
)
def test_metres_a_second_are_known_however_they_are_spelt(units: str) -> None:
    assert conversion(units, "m s-1") == (1.0, 0.0)


@pytest.mark.parametrize(
    ("factor", "units"),
    [
        *(
            (KNOT, units)
            for units in ("kt", "kts", "kn", "knot", "knots", "Knots", " KNOTS ", "nmi/h", "nautical mile/hour")
        ),
        *((KNOT, units) for units in ("nautical_mile per hour", "international_knot")),
        *(
            (1 / 3.6, units)
            for units in ("km/h", "km h-1", "km hr-1", "kph", "kmh-1", "kilometers per hour", "km h**-1")
        ),
        *((0.01, units) for units in ("cm/s", "cm s-1", "0.01 m s-1", "1e-2 m/s", "centimeters / second")),
        *((0.44704, units) for units in ("mph", "mile/hour", "miles per hour", "mi h-1")),
        (0.3048, "ft/s"),
        (1000.0, "km/s"),
    ],
)
def test_other_speeds_are_converted(factor: float, units: str) -> None:
    assert _convert(1.0, units, "m s-1") == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "units", "canonical", "expected"),
    [
        (0.0, "degC", "K", 273.15),
        (-273.15, "celsius", "K", 0.0),
        (0.0, "degrees_celsius", "K", 273.15),
        (32.0, "degF", "K", 273.15),
        (288.0, "K", "K", 288.0),
        (288.0, "kelvin", "K", 288.0),
        (1013.25, "hPa", "Pa", 101325.0),
        (1000.0, "mbar", "Pa", 1e5),
        (1000.0, "millibars", "Pa", 1e5),
        (101.3, "kPa", "Pa", 101300.0),
    ],
)
def test_temperature_and_pressure_are_converted(value: float, units: str, canonical: str, expected: float) -> None:
    assert _convert(value, units, canonical) == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    "units",
    [
        *(
            "",
            " ",
            "K",
            "1",
            "m",
            "s",
            "unknown",
            "m2 s-2",
            "m2 s-1",
            "s m-1",
            "m s",
            "s/m",
            "m/s/s",
            "m s-2",
            "/",
            "//",
            "m/",
        ),
        *(
            "/s",
            "m s--1",
            "per second",
            "0 m s-1",
            "0/s",
            "rad s-1",
            "m/s m/s",
            "knots/h",
            "degrees",
            "dB",
            "%",
            "kg m-2 s-1",
        ),
    ],
)
def test_units_of_something_else_are_not_converted(units: str) -> None:
    assert conversion(units, "m s-1") is None


@given(st.text(max_size=20), st.sampled_from(["m s-1", "K", "Pa"]))
def test_any_text_is_converted_or_not_but_raises_nothing(units: str, canonical: str) -> None:
    scaling = conversion(units, canonical)
    assert scaling is None or scaling[0] > 0


def test_every_listed_spelling_is_converted_and_the_canonical_one_is_unchanged() -> None:
    for canonical in {variable.units for variable in KNOWN.values()}:
        assert conversion(canonical, canonical) == (1.0, 0.0)
        assert [units for units in accepted_units(canonical) if conversion(units, canonical) is None] == []
