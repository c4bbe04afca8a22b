"""Decode coordinates of arrays: times, lead times, members and experiment versions."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

TIME_ROLES = ("time", "valid_time", "run", "step")
"""Roles of the coordinates that `combine_times` makes a valid time of."""
_STEP_SECONDS = {
    "d": 86400,
    "day": 86400,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "m": 60,
    "min": 60,
    "minute": 60,
    "s": 1,
    "sec": 1,
    "second": 1,
    "ms": 1e-3,
    "millisecond": 1e-3,
    "us": 1e-6,
    "microsecond": 1e-6,
    "ns": 1e-9,
    "nanosecond": 1e-9,
}
_STANDARD_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_NAT = np.datetime64("NaT", "s")
_DATE_NUMBER_UNITS = re.compile(r"^(day as %y%m%d\.%f|yyyymmdd(hh)?.*|%y%m%d(%h)?|day as yyyymmdd.*)$")


class FieldError(ValueError):
    """A field of a file cannot be understood; the message is a sentence that names it."""


def decode_times(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return times as datetime64[s], or offsets of time as timedelta64[s]; missing ones are NaT.

    Times may have CF units, be ISO texts, or numbers such as 2018091500 with a unit that says so. Raises `FieldError`
    for others and for calendars that are not Gregorian.
    """
    units = str(coordinate.attrs.get("units", ""))
    if coordinate.dtype.kind == "M":
        return coordinate.values.astype("datetime64[s]")
    if not units and all(isinstance(value, (str, bytes)) for value in coordinate.values.reshape(-1)):
        return _decode_texts(coordinate)
    if _DATE_NUMBER_UNITS.match(units.casefold()):
        return _decode_date_numbers(coordinate)
    if coordinate.dtype.kind == "m" or (units and " since " not in units):
        return decode_steps(coordinate)
    variable = xr.Variable(coordinate.dims, coordinate.values, _time_attributes(coordinate.attrs))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dates beyond nanoseconds are accepted
            decoded = xr.decode_cf(xr.Dataset({"t": variable}), decode_timedelta=False)["t"]
    except (ValueError, OverflowError, TypeError) as error:
        raise FieldError(f"The times of `{coordinate.name}` cannot be decoded. Got: `units` {units!r}.") from error
    if decoded.dtype.kind != "M":
        return _from_cftimes(decoded, coordinate)
    return decoded.values.astype("datetime64[s]")


def _from_cftimes(decoded: xr.DataArray, coordinate: xr.DataArray) -> NDArray[Any]:
    calendar = getattr(next(iter(decoded.values.reshape(-1)), None), "calendar", None)
    if calendar in _STANDARD_CALENDARS:
        texts = [time.isoformat() for time in decoded.values.reshape(-1)]
        return np.array(texts, "datetime64[s]").reshape(decoded.shape)
    got = f"calendar {calendar}" if calendar else f"values of type {coordinate.dtype}"
    raise FieldError(f"Times must be of the standard (Gregorian) calendar, with CF units. Got: {got}.")


def _decode_texts(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return times written as ISO 8601 texts, in UTC, as datetime64[s]; raises `FieldError` for other texts."""
    texts = [_text(value) for value in coordinate.values.reshape(-1)]
    plain = [re.sub(r"(Z|\+00:?00| ?UTC)$", "", text.strip()).replace("_", "T").replace(" ", "T") for text in texts]
    try:
        return np.array([text or "NaT" for text in plain], "datetime64[s]").reshape(coordinate.shape)
    except ValueError as error:
        raise FieldError(
            f"Times that are texts must be of the form 2018-09-15T00:00. Got: {next(iter(texts), '')!r}."
        ) from error


def _decode_date_numbers(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return times written as days such as 20180915.25, or above 10⁹ as hours such as 2018091506; as datetime64[s].

    Raises `FieldError` if a number is no date.
    """
    values = coordinate.values.reshape(-1).astype(np.float64)
    values = np.where(values > 1e9, values // 100 + values % 100 / 24, values)
    days, fractions = np.floor(values).astype(np.int64), values - np.floor(values)
    try:
        starts = np.array([f"{day // 10000:04d}-{day // 100 % 100:02d}-{day % 100:02d}" for day in days], "M8[s]")
    except ValueError as error:
        raise FieldError(f"The times of `{coordinate.name}` must be of the form 20180915.25.") from error
    times: NDArray[Any] = starts + np.round(fractions * 86400).astype("m8[s]")
    return times.reshape(coordinate.shape)


def _time_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: attributes[key] for key in ("units", "calendar") if key in attributes}
    if "units" in kept:
        kept["units"] = re.sub(r"since (\d)-(\d+)-(\d+)", r"since 000\1-\2-\3", str(kept["units"]))
    return kept


def decode_steps(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return lead times as timedelta64[s]; numbers without a unit are hours, missing ones are NaT."""
    values = coordinate.values
    if values.dtype.kind == "m":
        return values.astype("timedelta64[s]")
    words = str(coordinate.attrs.get("units", "")).casefold().split() or ["hours"]
    seconds = _STEP_SECONDS.get(words[0], _STEP_SECONDS.get(words[0].rstrip("s")))
    if seconds is None or values.dtype.kind not in "iuf":
        raise FieldError(f"`{coordinate.name}` must be lead times in hours, days or seconds. Got: {words[0]!r}.")
    numbers = values.astype(np.float64) * seconds
    return np.where(np.isfinite(numbers), np.round(np.nan_to_num(numbers)).astype("m8[s]"), np.timedelta64("NaT", "s"))


def decode_members(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return the labels of members as numbers, None where missing: those in texts such as `gep01` or `r3i1p1f1`.

    Raises `FieldError` for labels that are not different numbers.
    """
    labels = [_member(value) for value in coordinate.values.reshape(-1)]
    if len(set(labels)) < len({_text(value) for value in coordinate.values.reshape(-1)}):
        listed = ", ".join(repr(_text(value)) for value in coordinate.values.reshape(-1)[:5])
        raise FieldError(f"Members must be distinguished by a number in their label. Got: {listed}.")
    return np.array(labels, object).reshape(coordinate.shape)


def _member(value: Any) -> int | None:
    if isinstance(value, (float, np.floating)):
        return int(value) if np.isfinite(value) else None
    if isinstance(value, (int, np.integer)):
        return int(value)
    digits = re.search(r"\d+", _text(value))
    return int(digits[0]) if digits else None


def decode_versions(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return experiment versions as texts of four digits: `0001` for 1, 1.0, "0001" and b"0001"; empty if missing."""
    texts = [re.sub(r"\.0+$", "", _text(value).strip()) for value in coordinate.values.reshape(-1)]
    versions = [text.zfill(4) if text.isdigit() else "" if text == "nan" else text for text in texts]
    return np.array(versions, object).reshape(coordinate.shape)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def combine_times(
    parts: Mapping[str, Any],
) -> tuple[np.datetime64 | None, np.timedelta64 | None, np.datetime64]:
    """Return run, step and valid time of a record from those that its file gives; the valid time may be NaT.

    `time` is the valid time, unless there is a step and no other time of the run: then it is that time. Offsets from an
    unknown time give none.
    """
    run, step, valid, time = (parts.get(role) for role in ("run", "step", "valid_time", "time"))
    if isinstance(time, np.timedelta64):
        time = None
    if step is not None and run is None and time is not None:
        run = time
    if valid is None:
        valid = run + step if run is not None and step is not None else time if time is not None else run
    if valid is None or np.isnat(valid):
        return None, None, _NAT
    if run is None and step is not None:
        run = valid - step
    if run is not None and step is None:
        step = valid - run
    return run, step, round_to_minutes(np.array([valid]))[0]


def round_to_minutes(times: NDArray[Any]) -> NDArray[Any]:
    """Return times rounded to minutes, as datetime64[s]: days as floating-point numbers are off by seconds."""
    seconds = times.astype("datetime64[s]")
    rounded = ((seconds.astype(np.int64) + 30) // 60 * 60).astype("datetime64[s]")
    return np.where(np.isnat(seconds), seconds, rounded)
