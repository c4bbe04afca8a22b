"""Exports of stored forecasts: the request, and what child processes compute for it."""

from dataclasses import dataclass

from service.child_calls import ForecastAddress
from weather.exports.export import Block, ExportPlan, Form
from weather.exports.part import Part
from weather.exports.stored import StoredFields


@dataclass(frozen=True)
class ExportQuery:
    """A request for an export: of which store, which part, and in which form."""

    store: str
    part: Part
    form: Form


def plan_export(address: ForecastAddress, query: ExportQuery) -> ExportPlan:
    """Return the plan of an export of the lead times that are complete now; raise the errors of `ExportPlan.of`."""
    stored = StoredFields.open(address.open_folder() / query.store)
    return ExportPlan.of(stored, query.part, query.form, address.record.lead_times)


def encode_block(address: ForecastAddress, query: ExportQuery, plan: ExportPlan, block: Block) -> bytes:
    """Return the bytes of a block of an export; raise `DamagedError`."""
    return plan.encode(StoredFields.open(address.open_folder() / query.store), block)
