"""How the values of an array were made, by what its data set says: a state, a mean, an extreme, a spread."""

import re
from collections.abc import Mapping
from typing import Any

import xarray as xr

from weather.readers.records import Statistic

_ENSEMBLE = r"\b(realization|number|member|ensemble|ens|sample)s?:"
_SPREAD = r"(\bspread\b|standard deviation|variance|_(spread|std|stdev|stddev)\b)"
_STATISTICS: tuple[tuple[str, Statistic], ...] = (
    (
        rf"{_ENSEMBLE} (standard_deviation|variance|range|mean_absolute)|type:s?es\b|name:.*{_SPREAD}",
        Statistic.SPREAD,
    ),
    (rf"{_ENSEMBLE} (mean|median)|type:t?em\b|name:.*\bensemble mean\b|_(mean|ensmean)\b", Statistic.ENSEMBLE_MEAN),
    (rf"{_ENSEMBLE} (maximum|minimum)|\btime: (maximum|minimum|range|mid_range)|step:(max|min)", Statistic.EXTREME),
    (r"\btime: sum|step:accum", Statistic.ACCUMULATION),
    (r"\btime: (mean|median|standard_deviation|variance)|step:avg|collection:|frequency:", Statistic.MEAN),
)


def statistic_of(array: xr.DataArray, global_attributes: Mapping[str, Any]) -> Statistic:
    """Return how values were made, by what is written about them.

    That is: cell methods, GRIB keys, names, the collection of MERRA-2 and the frequency of CMIP.
    """
    attributes = array.attrs
    collection = " ".join(str(global_attributes.get(key, "")) for key in ("Title", "ShortName", "LongName"))
    is_mean = re.search(r"tavg|time-averaged|\bm2t", collection, re.IGNORECASE)
    cell_methods = str(attributes.get("cell_methods", ""))
    frequency = str(global_attributes.get("frequency", "")) if "mip_era" in global_attributes else ""
    parts = [
        cell_methods,
        f"step:{attributes.get('GRIB_stepType', '')}",
        f"type:{attributes.get('GRIB_dataType', '')}",
        f"name:{array.name} {attributes.get('long_name', '')}",
        "collection:" if is_mean else "",
        "frequency:" if frequency and "time:" not in cell_methods and not frequency.endswith("Pt") else "",
    ]
    text = "; ".join(part for part in parts if part).casefold()
    return next((kind for pattern, kind in _STATISTICS if re.search(pattern, text)), Statistic.INSTANT)


def statistic_called(label: Any) -> Statistic:
    """Return the statistic that a label of a dimension `statistic` or `quantile` means."""
    text = str(label).casefold()
    for pattern, kind in (
        ("mean|average", Statistic.ENSEMBLE_MEAN),
        ("std|spread|deviation|variance", Statistic.SPREAD),
        ("max|min", Statistic.EXTREME),
        ("instant|point|control", Statistic.INSTANT),
    ):
        if re.search(pattern, text):
            return kind
    return Statistic.QUANTILE
