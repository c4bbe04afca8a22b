import copy
import json
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zarr

from tests.inputs import state, state_spec
from weather.ingest.child import carry_out
from weather.ingest.exchange import RESULT, load_initial_state, load_inspection
from weather.manifest import ModelSpec

CASES = 40
"""Of all changes of one value, which are some thousands, as many are drawn."""
DEEP: Any = []
for _ in range(500):
    DEEP = [DEEP]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 1.5, 10**12, 2**63, 10**400, -(10**30)),
    *(float("nan"), float("inf"), float("-inf"), 1e308),
    *("", "x", "\0", "a\0b", "\ud800", "é\n\u202e", "../..", "/", "NaN", "nan", "9" * 400, "%s{0}", "x" * 5000, "<f4"),
    *([], {}, [[]], [None], [1.5], [""], ["a", "a"], [0, 0, 0], [-1, -1, -1], [10**12] * 3, [True, True, True]),
    *({"": {}}, {"name": None}, {"name": "x", "configuration": []}, {"id": 3}, {"configuration": {"length": 10**12}}),
    DEEP,
]
TEXTS = {
    "units": "m s-1",
    "standard_name": "eastward_wind",
    "long_name": "wind",
    "coordinates": "time",
    "axis": "X",
    "calendar": "standard",
    "GRIB_stepType": "instant",
    "GRIB_shortName": "10u",
    "bounds": "b",
    "cell_methods": "time: point",
    "positive": "up",
    "grid_mapping": "crs",
    "dtype": "f4",
}
NUMBERS = {"scale_factor": 1.0, "add_offset": 0.0, "_FillValue": 0.0, "missing_value": 0.0, "GRIB_paramId": 165}
ATTRIBUTES: dict[str, Any] = TEXTS | NUMBERS | {"valid_range": [0, 1]}


@pytest.fixture(scope="module", params=[2, 3])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the members of a store of either version."""
    folder = tmp_path_factory.mktemp("store") / "a.zarr"
    winds = state(rows=7, columns=12, frames=2).assign_coords(height=10.0)
    winds.to_zarr(folder, zarr_format=request.param, consolidated=False)
    assert zarr.open_group(folder, mode="r").metadata.zarr_format == request.param
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value in JSON, the whole included."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*place, key))


def _change(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """Return JSON with another value at a place."""
    if not place:
        return new
    changed = copy.copy(value)
    changed[place[0]] = _change(value[place[0]], place[1:], new)
    return changed


def _changes(store: dict[str, bytes]) -> Iterator[tuple[str, tuple[Any, ...], Any, str]]:
    """Yield every change of one value: member, place, new value, and the changed member."""
    for name, content in store.items():
        if not name.endswith((".json", ".zarray", ".zgroup", ".zattrs")):
            continue
        original = json.loads(content)
        if name.endswith(".zattrs"):
            original = ATTRIBUTES | original
        elif "attributes" in original:
            original["attributes"] = ATTRIBUTES | original["attributes"]
        for place in _places(original):
            for value in VALUES:
                yield name, place, value, json.dumps(_change(original, place, value))


def _read(path: Path, spec: ModelSpec, folder: Path) -> str:
    """Return `state`, or the message of the refusal, as the parser does for both of its tasks."""
    outcomes = []
    for kind in ("inspection", "initial_state"):
        work = folder / kind
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        task = {"kind": kind, "spec": spec.model_dump(mode="json"), "init_time": None}
        reply = carry_out([path], ["a.zip"], task, work, 10**9)
        if kind == "inspection" and "kind" not in reply:
            load_inspection(work / RESULT).model_dump_json()
        elif "kind" not in reply:
            load_initial_state(work / RESULT)
        outcomes.append(" ".join(reply.get("problems", ["state"])))
    return outcomes[-1]


def test_every_type_at_every_place_of_zarr_metadata_is_read_or_refused(store: dict[str, bytes], tmp_path: Path) -> None:
    spec = state_spec(7, 12)
    changes = list(_changes(store))
    empty = [change for change in changes if change[1][-1:] == ("_FillValue",) and change[2] == ""]
    outcomes = []
    wrong = []
    for name, place, value, changed in (*empty, *random.Random(13).sample(changes, CASES)):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for member, content in store.items():
                archive.writestr(member, changed if member == name else content)
        try:
            outcomes.append(_read(tmp_path / "a.zip", spec, tmp_path))
        except Exception as error:
            wrong.append(f"{name} {place} {str(value)[:40]!r}: {type(error).__name__}: {str(error)[:200]}")
    assert not wrong, "\n".join(wrong)
    assert 0 < outcomes.count("state") < len(outcomes)
