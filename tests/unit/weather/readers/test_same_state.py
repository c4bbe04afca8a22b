"""One state in every form: the order and the form in which a file has it do not change what is read."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inputs import grib_message, map_fields, state, state_spec, write_grib, write_netcdf, write_zipped_zarr
from weather.initial_state import InitialState, read_initial_state

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")
ROWS, COLUMNS = 9, 12
UNITS = {"m s-1": 1.0, "knots": 3600 / 1852, "km/h": 3.6, "cm s**-1": 100.0}
PACKINGS: dict[str, dict[str, Any]] = {
    "f8": {"dtype": "f8"},
    "f4": {"dtype": "f4"},
    "big-endian": {"dtype": ">f4"},
    "i2": {"dtype": "i2", "scale_factor": 0.002, "add_offset": 1.0, "_FillValue": -32768},
    "i4": {"dtype": "i4", "scale_factor": 0.0005, "missing_value": -99999},
}
SPLITS: dict[str, tuple[str, ...]] = {"one file": (), "times": ("time",), "variables": ("v",), "both": ("time", "v")}


def _members(has_poles: bool, numbers: Sequence[int]) -> xr.Dataset:
    """Return the state of each member: the clean one plus a tenth of its number, (time, number, lat, lon)."""
    clean = state(ROWS, COLUMNS, has_poles=has_poles)
    return xr.concat(
        [map_fields(clean, lambda field: field + np.float32(0.1 * number)) for number in numbers],  # noqa: B023 used at once
        xr.Variable("number", list(numbers)),
    ).transpose("time", "number", ...)


def _check(result: InitialState, has_poles: bool, numbers: Sequence[int], tolerance: float) -> None:
    expected = _members(has_poles, sorted(numbers))
    for frame, fields in enumerate((result.previous, result.newest)):
        for channel, name in enumerate(expected):
            np.testing.assert_allclose(fields[:, channel], expected[name].values[frame], rtol=0, atol=tolerance)


def _read(paths: Sequence[Path], has_poles: bool) -> InitialState:
    return read_initial_state([str(path) for path in paths], state_spec(ROWS, COLUMNS, has_poles=has_poles))


numbers_of_members = st.one_of(st.just([0]), st.permutations([0, 1, 2]), st.permutations([3, 11]))


@settings(max_examples=40)
@given(data=st.data(), numbers=numbers_of_members, has_poles=st.booleans())
def test_arrays_in_any_form_are_the_same_state(data: st.DataObject, numbers: list[int], has_poles: bool) -> None:
    dataset = _members(has_poles, numbers)
    if len(numbers) == 1 and data.draw(st.booleans(), "without members"):
        dataset = dataset.isel(number=0, drop=True)
    origin = data.draw(st.sampled_from([0.0, -180.0, 30.0, -90.0]), "origin")
    dataset = dataset.assign_coords(longitude=(dataset.longitude - origin) % 360 + origin)
    dataset = dataset.sortby("longitude", ascending=data.draw(st.booleans(), "eastward"))
    if data.draw(st.booleans(), "cyclic"):
        first = dataset.isel(longitude=[0])
        turn = 360.0 * np.sign(dataset.longitude.values[1] - dataset.longitude.values[0])
        dataset = xr.concat([dataset, first.assign_coords(longitude=first.longitude + turn)], "longitude")
    dataset = dataset.sortby("latitude", ascending=data.draw(st.booleans(), "northward"))
    dataset = dataset.sortby("time", ascending=data.draw(st.booleans(), "forward"))
    dataset = dataset.transpose(*data.draw(st.permutations(sorted(map(str, dataset.dims))), "dimensions"))
    unit = data.draw(st.sampled_from(sorted(UNITS)), "unit")
    dataset = map_fields(dataset, lambda field: field * UNITS[unit])
    packing = data.draw(st.sampled_from(sorted(PACKINGS) if unit != "cm s**-1" else ["f4", "f8"]), "packing")
    for name in dataset.data_vars:
        dataset[name].attrs["units"] = unit
        dataset[name].encoding = dict(PACKINGS[packing])
    pieces = [dataset]
    split = SPLITS[data.draw(st.sampled_from(sorted(SPLITS)), "files")]
    if "time" in split:
        pieces = [piece.isel(time=[index]) for piece in pieces for index in (0, 1)]
    if "v" in split:
        pieces = [piece[[name]] for piece in pieces for name in ("u10", "v10")]
    as_zarr = packing != "big-endian" and data.draw(st.booleans(), "Zarr")
    with tempfile.TemporaryDirectory() as folder:
        write = write_zipped_zarr if as_zarr else write_netcdf
        paths = [write(piece, Path(folder) / f"{index}") for index, piece in enumerate(pieces)]
        result = _read(paths, has_poles)
        _check(result, has_poles, numbers, tolerance=2e-3)
        assert _read(data.draw(st.permutations(paths), "order"), has_poles).digest == result.digest


@settings(max_examples=40)
@given(data=st.data(), numbers=numbers_of_members, has_poles=st.booleans(), edition=st.sampled_from([1, 2]))
def test_messages_in_any_form_and_order_are_the_same_state(
    data: st.DataObject, numbers: list[int], has_poles: bool, edition: int
) -> None:
    dataset = _members(has_poles, numbers)
    messages = list[bytes]()
    for index, number in enumerate(numbers):
        options = {
            "edition": edition,
            "origin": data.draw(st.sampled_from([0.0, -180.0, 30.0]), "origin"),
            "i_negative": data.draw(st.booleans(), "westward"),
            "j_positive": data.draw(st.booleans(), "northward"),
            "by_columns": data.draw(st.booleans(), "by columns"),
            "alternating": edition == 2 and data.draw(st.booleans(), "alternating"),
            "keys": _member_keys(edition, number) if len(numbers) > 1 else {},
        }
        fields = [dataset[name].isel(time=frame, number=index) for name in ("u10", "v10") for frame in (0, 1)]
        messages += [grib_message(field, **options) for field in fields]
    digests = set[str]()
    for _ in range(2):
        shuffled = data.draw(st.permutations(messages), "order")
        count = data.draw(st.integers(1, 3), "files")
        with tempfile.TemporaryDirectory() as folder:
            paths = [write_grib(Path(folder) / f"{part}", shuffled[part::count]) for part in range(count)]
            result = _read(paths, has_poles)
            _check(result, has_poles, numbers, tolerance=2e-3)
            digests.add(result.digest)
    assert len(digests) == 1


def _member_keys(edition: int, number: int) -> dict[str, object]:
    if edition == 1:
        local = {"setLocalDefinition": 1, "localDefinitionNumber": 1, "type": "pf", "stream": "enfo"}
        return local | {"numberOfForecastsInEnsemble": 3, "perturbationNumber": number}
    return {"productDefinitionTemplateNumber": 1, "numberOfForecastsInEnsemble": 3, "perturbationNumber": number}
