"""Carry out `warmcast export`: write a forecast in a folder, or a part of it, as a NetCDF or GRIB 2 file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.atomic import replace_file
from storage.errors import ConfigurationError
from storage.paths import storage_path
from weather.errors import StoreError
from weather.exports.export import FORMS, ExportPlan
from weather.exports.part import Part
from weather.exports.stored import StoredFields
from weather.region import Region
from weather.stores.chunks import METADATA_KEY
from weather.stores.layout import ENSEMBLE, SUMMARY
from weather.times import Interval


def export_forecast(
    *,
    folder: Path,
    output: Path,
    summary: bool,
    parameters: str,
    members: str,
    times: str,
    bbox: str | None,
    report: Callable[[int, int], None] = lambda _, __: None,
) -> dict[str, Any]:
    """Write the complete lead times of a forecast's ensemble, or of its `summary`, and return what was written.

    `folder` is that of the forecast, or the store itself. `report` is called with the number of lead times that are
    written, and of all. Raises `ConfigurationError` for an option that the forecast does not have, `StoreError` if
    there is no store, and `DamagedError`.
    """
    form = next((form for form in FORMS if output.suffix == f".{form}"), None)
    if form is None:
        raise ConfigurationError(f"`output` must end with .nc (NetCDF) or .grib2. Got: {output.name!r}.", ("output",))
    if not output.parent.is_dir():
        raise ConfigurationError(f"The folder of `output` does not exist. Got: `{output.parent}`.", ("output",))
    stored = StoredFields.open(storage_path(_find_store(folder, SUMMARY if summary else ENSEMBLE)))
    names = tuple(name.strip() for name in parameters.split(",") if name.strip())
    part = Part(names, members, Interval.parse(times), None if bbox is None else Region.parse(bbox))
    plan = ExportPlan.of(stored, part, form, len(stored.lead_hours))
    total = len(plan.lead_time_bytes)
    with replace_file(output) as partial, partial.open("wb") as file:
        for number, block in enumerate(plan.blocks(), 1 if not plan.header else 0):
            file.write(plan.encode(stored, block))
            report(number, total)
    hours = [int(stored.lead_hours[index]) for index in plan.selection.lead_indices]
    return {
        "path": str(output),
        "size_bytes": plan.size_bytes,
        "lead_hours": hours,
        "fields": [*plan.selection.positions],
    }


def _find_store(folder: Path, name: str) -> Path:
    """Return the store that `folder` is, or the one of a name in the folder of a forecast; raises `StoreError`."""
    store = folder if (folder / METADATA_KEY).exists() else folder / name
    if not (store / METADATA_KEY).exists():
        raise StoreError(f"`{folder}` has no `{name}`. Give the folder of a forecast.")
    return store
