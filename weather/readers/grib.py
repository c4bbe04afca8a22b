"""GRIB files, edition 1 and 2, through cfgrib."""

from collections.abc import Sequence

import cfgrib.messages
import xarray as xr

from weather.readers.canonical import Problems, canonical, missing_sentence
from weather.variables import KNOWN


def read_grib(source: str, variables: Sequence[str], problems: Problems) -> xr.Dataset | None:
    """Return the canonical fields of a GRIB file, each found by its parameter number at the surface it belongs to."""
    found = xr.Dataset()
    for name in variables:
        options = {
            "indexpath": "",
            "errors": "raise",
            "time_dims": ("valid_time",),
            "filter_by_keys": {"paramId": KNOWN[name].param_id},
        }
        part = xr.open_dataset(source, engine="cfgrib", decode_timedelta=False, backend_kwargs=options)
        for array in part.values():
            found[name] = array.drop_vars("heightAboveGround", errors="ignore")
    missing = [name for name in variables if name not in found]
    if missing:
        problems.append(missing_sentence(missing, _inventory(source)))
        return None
    return canonical(found, variables, problems)


def _inventory(source: str) -> list[str]:
    """Return what a GRIB file holds, as short names with levels."""
    stream = cfgrib.messages.FileStream(source, errors="ignore")
    names = {f"{message['shortName']} ({message['typeOfLevel']})" for _, message in stream.items()}
    return sorted(names)
