"""The variables that Warmcast knows: their names in data sets, their units and their CF attributes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Variable:
    """One field of the weather.

    `aliases` are its names, in small letters, in the archives that `docs/inputs.md` lists; `param_id` is ECMWF's GRIB
    parameter number, `grib2` the category and number of the parameter in discipline 0 of GRIB 2. `valid_range` bounds
    physical values, in `units`. `is_vector` marks a wind component: it changes sign across a pole, and normalisation
    scales but never shifts it.
    """

    name: str
    units: str
    standard_name: str
    long_name: str
    param_id: int
    aliases: tuple[str, ...]
    valid_range: tuple[float, float]
    grib2: tuple[int, int]
    is_vector: bool = False
    height_m: float | None = None


_WIND_10M = (-150.0, 150.0)

KNOWN: Mapping[str, Variable] = MappingProxyType(
    {
        "u10": Variable(
            "u10",
            "m s-1",
            "eastward_wind",
            "10 metre u wind component",
            165,
            (
                *("u10", "10u", "u10m", "10m_u_component_of_wind", "u_10m", "ugrd10m", "ugrd_10maboveground"),
                *("uas", "wind_u_10m", "10_metre_u_wind_component", "var165"),
            ),
            _WIND_10M,
            (2, 2),
            is_vector=True,
            height_m=10.0,
        ),
        "v10": Variable(
            "v10",
            "m s-1",
            "northward_wind",
            "10 metre v wind component",
            166,
            (
                *("v10", "10v", "v10m", "10m_v_component_of_wind", "v_10m", "vgrd10m", "vgrd_10maboveground"),
                *("vas", "wind_v_10m", "10_metre_v_wind_component", "var166"),
            ),
            _WIND_10M,
            (2, 3),
            is_vector=True,
            height_m=10.0,
        ),
        "t2m": Variable(
            "t2m",
            "K",
            "air_temperature",
            "2 metre temperature",
            167,
            ("t2m", "2t", "2m_temperature", "tmp2m", "tmp_2maboveground", "t_2m", "tas", "temperature_2m", "var167"),
            (150.0, 350.0),
            (0, 0),
            height_m=2.0,
        ),
        "msl": Variable(
            "msl",
            "Pa",
            "air_pressure_at_mean_sea_level",
            "Mean sea level pressure",
            151,
            ("msl", "prmsl", "mean_sea_level_pressure", "prmslmsl", "mslma", "psl", "slp", "var151"),
            (80_000.0, 115_000.0),
            (3, 1),
        ),
    }
)

DEFAULT_VARIABLES = ("u10", "v10")

WIND_SPEED_10M = Variable(
    "wind_speed_10m", "m s-1", "wind_speed", "10 metre wind speed", 207, (), (0.0, 213.0), (2, 1), height_m=10.0
)
"""Computed from `u10` and `v10`; no network has it as an input or output."""
