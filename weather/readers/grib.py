"""Read GRIB files, edition 1 and 2, through cfgrib."""

from collections.abc import Sequence

import cfgrib.messages
import xarray as xr

from weather.readers.canonical import Problems, describe_missing, to_canonical
from weather.variables import KNOWN


def read_grib(source: str, variables: Sequence[str], problems: Problems) -> xr.Dataset | None:
    """Return the canonical fields of a GRIB file, each found by its parameter number; None if there is a problem."""
    dataset = xr.Dataset()
    for name in variables:
        options = {
            "indexpath": "",
            "errors": "raise",
            "time_dims": ("valid_time",),
            "filter_by_keys": {"paramId": KNOWN[name].param_id},
        }
        part = xr.open_dataset(source, engine="cfgrib", decode_timedelta=False, backend_kwargs=options)
        for array in part.values():
            dataset[name] = array.drop_vars("heightAboveGround", errors="ignore")
    missing = [name for name in variables if name not in dataset]
    if missing:
        problems.append(describe_missing(missing, _inventory(source)))
        return None
    return to_canonical(dataset, variables, problems)


def _inventory(source: str) -> list[str]:
    """Return the short names and level types of all messages of a GRIB file."""
    stream = cfgrib.messages.FileStream(source, errors="ignore")
    names = {f"{message['shortName']} ({message['typeOfLevel']})" for _, message in stream.items()}
    return sorted(names)
