"""GRIB 2 messages of stored fields: of members, means, spreads, percentiles and probabilities.

Values are 32-bit floats (data representation template 5.4), so that they are those of the store, and so that all
messages of a kind have the same size.
"""

import re
import sqlite3  # noqa: F401  # before eccodes, which loads an older SQLite for the whole process
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal

import eccodes
import numpy as np
from numpy.typing import NDArray

from storage.errors import ConfigurationError
from weather.exports.part import Selection
from weather.exports.stored import StoredFields
from weather.grids import DEGREES_TOLERANCE, wrap_longitude
from weather.stores.summary_layout import WIND_DIRECTION
from weather.variables import KNOWN, WIND_SPEED_10M

Keys = Mapping[str, int | float | str]

_VARIABLES = {**KNOWN, WIND_SPEED_10M.name: WIND_SPEED_10M}
_STATISTIC = re.compile(r"(.+)_(mean|spread|quantiles|above|below)")
_DERIVED = {"mean": 0, "spread": 4}
"""Codes of table 4.7: unweighted mean of all members, spread of all members."""
_PROBABILITY = {"above": (3, "Lower"), "below": (4, "Upper")}
"""Codes of table 4.9 and the limit that each has: above a lower one, below an upper one."""
_TEMPLATE = "productDefinitionTemplateNumber"
_TEMPLATE_OF_PROBABILITY, _TEMPLATES_WITH_NUMBER = 5, (1, 2)
_WIND_FROM = (2, 0)
_MISSING, _LAST_NUMBER = 255, 254
_MICRO = 1e-6
_REGULAR_TOLERANCE = 2e-6
_MEAN_SEA_LEVEL, _HEIGHT = 101, 103
_IDENTIFICATION: Keys = {
    "tablesVersion": 32,
    "centre": _MISSING,
    "significanceOfReferenceTime": 1,
    "productionStatusOfProcessedData": 2,
    "shapeOfTheEarth": 6,
}
_REPRESENTATION: Keys = {"packingType": "grid_ieee", "precision": 1}


class GribMessages:
    """The messages of a selection of a store, one lead time after another.

    A lost member has no messages, and a lead time has none of statistics that need more members than it has. Raises
    `ConfigurationError` for a selection that GRIB 2 cannot hold.
    """

    def __init__(self, stored: StoredFields, selection: Selection) -> None:
        self._stored, self._selection = stored, selection
        self._grid = {**_IDENTIFICATION, **_time_keys(stored.init_time), **_grid_keys(stored, selection)}
        self._products = {
            name: [_product_keys(stored, name, position) for position in positions]
            for name, positions in selection.positions.items()
        }

    def count_bytes(self) -> list[int]:
        """Return the bytes of the messages of each lead time of the selection."""
        values = np.zeros(len(self._selection.rows) * len(self._selection.columns))
        sizes = {}
        for name, products in self._products.items():
            with _message({**self._grid, **products[0], **_REPRESENTATION}) as handle:
                sizes[name] = len(_encode(handle, {}, values))
        return [
            sum(sizes[name] for name, _ in self._present(lead_index)) for lead_index in self._selection.lead_indices
        ]

    def encode(self, lead_index: int) -> bytes:
        """Return the messages of a lead time; raises `DamagedError` if a chunk is missing or damaged."""
        selection, numbers = self._selection, self._selection.num_values[lead_index]
        total = len(numbers) if self._stored.is_ensemble else int(numbers[0])
        present = list(self._present(lead_index))
        messages = []
        for name, products in self._products.items():
            indices = [index for other, index in present if other == name]
            if not indices:
                continue
            fields = selection.read(self._stored, name, lead_index).astype(np.float64)
            if products[0][_TEMPLATE] == _TEMPLATE_OF_PROBABILITY:
                fields *= 100
            keys = {"forecastTime": int(self._stored.lead_hours[lead_index])}
            if products[0][_TEMPLATE] in _TEMPLATES_WITH_NUMBER:
                keys["numberOfForecastsInEnsemble"] = min(total, _MISSING)
            with _message({**self._grid, **products[0], **_REPRESENTATION, **keys}) as handle:
                messages += [_encode(handle, products[index], fields[index].ravel()) for index in indices]
        return b"".join(messages)

    def _present(self, lead_index: int) -> Iterator[tuple[str, int]]:
        """Yield name of the field and index of its position for each message of a lead time."""
        numbers = self._selection.num_values[lead_index]
        for name, positions in self._selection.positions.items():
            needed = 2 if name.endswith("_spread") else 1
            for index, position in enumerate(positions):
                if numbers[position if self._stored.is_ensemble else 0] >= needed:
                    yield name, index


def _encode(handle: int, keys: Keys, values: NDArray[np.float64]) -> bytes:
    """Return the message of a handle with other keys and values, of which the handle gets the keys."""
    for name, value in keys.items():
        eccodes.codes_set(handle, name, value)
    eccodes.codes_set_values(handle, values)
    message: bytes = eccodes.codes_get_message(handle)
    return message


@contextmanager
def _message(keys: Keys) -> Iterator[int]:
    """Yield a new message with some keys, set in their order."""
    handle = eccodes.codes_grib_new_from_samples("GRIB2")
    try:
        for name, value in keys.items():
            eccodes.codes_set(handle, name, value)
        yield handle
    finally:
        eccodes.codes_release(handle)


def _time_keys(init_time: np.datetime64) -> Keys:
    date, _, clock = str(init_time.astype("datetime64[s]")).partition("T")
    hour, minute, second = map(int, clock.split(":"))
    return {"dataDate": int(date.replace("-", "")), "hour": hour, "minute": minute, "second": second}


def _grid_keys(stored: StoredFields, selection: Selection) -> Keys:
    """Return the keys of a Gaussian or a regular grid, of the points of a selection."""
    rows, columns = selection.latitude, wrap_longitude(selection.longitude)
    latitude, longitude = stored.coordinates["latitude"], stored.coordinates["longitude"]
    step = 360.0 / len(longitude)
    keys = {
        "Ni": len(columns),
        "Nj": len(rows),
        "latitudeOfFirstGridPoint": round(rows[0] / _MICRO),
        "latitudeOfLastGridPoint": round(rows[-1] / _MICRO),
        "longitudeOfFirstGridPoint": round(columns[0] / _MICRO),
        "longitudeOfLastGridPoint": round(columns[-1] / _MICRO),
        "iDirectionIncrement": round(step / _MICRO),
    }
    if _is_gaussian(latitude):
        return {"gridType": "regular_gg", "N": len(latitude) // 2, **keys}
    steps = -np.diff(latitude)
    if np.ptp(steps) > _REGULAR_TOLERANCE:
        raise ConfigurationError(
            "GRIB 2 has no grid of these latitudes, which are neither evenly spaced nor Gaussian. Export NetCDF."
        )
    return {"gridType": "regular_ll", **keys, "jDirectionIncrement": round(steps.mean() / _MICRO)}


def _is_gaussian(latitude: NDArray[np.float64]) -> bool:
    roots, _ = np.polynomial.legendre.leggauss(len(latitude))
    gaussian = np.degrees(np.arcsin(roots))[::-1]
    return len(latitude) % 2 == 0 and bool(np.allclose(latitude, gaussian, rtol=0, atol=DEGREES_TOLERANCE))


def _product_keys(stored: StoredFields, name: str, position: int) -> Keys:
    """Return the keys of a product: what it is, where, and of which member or statistic."""
    found = _STATISTIC.fullmatch(name)
    variable, statistic = (found[1], found[2]) if found else (name, "mean" if name == WIND_DIRECTION else "members")
    dimension = stored.fields[name].dimension
    value = None if dimension is None else stored.coordinates[dimension][position].item()
    own = _statistic_keys(name, statistic, value)
    return {_TEMPLATE: own[_TEMPLATE], **_parameter_keys(variable), **own}


def _parameter_keys(variable: str) -> Keys:
    category, number = _WIND_FROM if variable == WIND_DIRECTION else _VARIABLES[variable].grib2
    height = WIND_SPEED_10M.height_m if variable == WIND_DIRECTION else _VARIABLES[variable].height_m
    keys = {"discipline": 0, "parameterCategory": category, "parameterNumber": number}
    keys |= {"typeOfGeneratingProcess": 4, "indicatorOfUnitOfTimeRange": 1}
    if height is None:
        return {**keys, "typeOfFirstFixedSurface": _MEAN_SEA_LEVEL}
    surface = {"typeOfFirstFixedSurface": _HEIGHT, "scaleFactorOfFirstFixedSurface": 0}
    return {**keys, **surface, "scaledValueOfFirstFixedSurface": round(height)}


def _statistic_keys(name: str, statistic: str, value: float | None) -> Keys:
    if statistic == "members":
        assert value is not None
        if value > _LAST_NUMBER:
            raise ConfigurationError(
                f"GRIB 2 numbers members from 0 to {_LAST_NUMBER}. Choose others, or export NetCDF. Got: {value:g}.",
                ("members",),
            )
        return {
            _TEMPLATE: 1,
            "typeOfProcessedData": 4,
            "typeOfEnsembleForecast": 3,
            "perturbationNumber": round(value),
        }
    if statistic in _DERIVED:
        return {_TEMPLATE: 2, "derivedForecast": _DERIVED[statistic]}
    assert value is not None
    if statistic == "quantiles":
        percent = round(100 * value, 9)
        if percent != round(percent):
            raise ConfigurationError(
                "GRIB 2 has quantiles of whole percent only. Leave this one out with `parameter-name`, or export "
                f"NetCDF. Got: {value:g} of {name}.",
                ("parameter-name",),
            )
        return {_TEMPLATE: 6, "percentileValue": round(percent)}
    code, limit = _PROBABILITY[statistic]
    scale = max(0, -int(Decimal(repr(value)).normalize().as_tuple().exponent))
    return {
        _TEMPLATE: 5,
        "probabilityType": code,
        f"scaleFactorOf{limit}Limit": scale,
        f"scaledValueOf{limit}Limit": round(value * 10**scale),
    }
