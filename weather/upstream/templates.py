"""Fill templates of addresses and names of files with a time, such as `gfs.{yyyymmdd}/gfs.t{hh}z.f000`."""

import re
from collections.abc import Mapping

import numpy as np

_FIELD = re.compile(r"\{([^{}]*)\}")
FIELDS = ("yyyy", "mm", "dd", "hh", "yyyymmdd", "yyyymmddhh", "stream")


def check_template(template: str) -> str:
    """Return a template; raise `ValueError` if it has an unknown field, or names no hour of a day."""
    fields = set(_FIELD.findall(template))
    if unknown := sorted(fields - set(FIELDS)):
        raise ValueError(f"`{{{unknown[0]}}}` is no field of a template. Expected: {', '.join(FIELDS)}")
    has_day = fields & {"yyyymmdd", "yyyymmddhh"} or {"yyyy", "mm", "dd"} <= fields
    if not has_day or not fields & {"hh", "yyyymmddhh"}:
        raise ValueError("a template must name the day and the hour, such as {yyyymmdd} and {hh}")
    if "{" in _FIELD.sub("", template) or "}" in _FIELD.sub("", template):
        raise ValueError("a brace of the template has no counterpart")
    return template


def fill_template(template: str, time: np.datetime64, streams: Mapping[int, str] | None = None) -> str:
    """Return a template with the fields of a time in UTC, and with the stream of its hour."""
    date, hour = str(np.datetime_as_string(time, "h")).split("T")
    year, month, day = date.split("-")
    values = {
        "yyyy": year,
        "mm": month,
        "dd": day,
        "hh": hour,
        "yyyymmdd": year + month + day,
        "yyyymmddhh": year + month + day + hour,
        "stream": (streams or {}).get(int(hour), ""),
    }
    return _FIELD.sub(lambda match: values[match[1]], template)
