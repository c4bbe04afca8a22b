"""The end of a forecast: complete its products, write its receipt and mark it successful."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.counters import NONFINITE, Tally
from jobs.dispatching import leases
from jobs.dispatching.leases import Lease
from jobs.rows.database import Database
from jobs.stored_files import DIGEST_FIELD, encode_receipt, write_file_list
from weather.stores.create import read_noise
from workers.claimed_forecast import ClaimedForecast, publish_committed
from workers.engine import Engine


def finish_forecast(database: Database, lease: Lease, forecast: ClaimedForecast, engine: Engine, tally: Tally) -> None:
    """Publish the remaining lead times, write missing products and the receipt, and mark the forecast successful.

    Raises `LeaseLostError` if the lease is lost; the forecast then stays open.
    """
    request, folder, store = forecast.request, forecast.folder, forecast.store
    for group in range(store.layout.num_groups):
        publish_committed(store, folder, group, store.layout.num_lead_times)
    lost = forecast.write_missing_products(database)
    receipt = _receipt(forecast, lost, forecast.elapsed_seconds)
    store_bytes = engine.meter.measure_store(request, store, folder, learn=request.output.is_exact and not lost)
    receipt[DIGEST_FIELD] = write_file_list(folder, request)
    folder.receipt.write(encode_receipt(receipt))
    with database.write() as connection:
        leases.finish(connection, lease, receipt, store_bytes)
    tally.count(NONFINITE, request.checkpoint, by=len(lost))
    folder.clear_attempts()


def _receipt(forecast: ClaimedForecast, lost: list[int], seconds: float) -> dict[str, Any]:
    """Return the receipt: what suffices to reproduce the values, lost members and seconds.

    Each entry of `computations` gives the lead time of its first use; a member is reproduced bit for bit by the way of
    its own.
    """
    computations = forecast.folder.read_computations()
    first = computations[0] if computations else {}  # of a forecast that an earlier version has computed
    return {
        "request": forecast.request.model_dump(mode="json", exclude={"initial_state", "warnings"}),
        "noise": read_noise(forecast.store.attributes),
        "nonfinite_members": lost,
        "warnings": [*forecast.request.warnings, *_warnings(computations)],
        "seconds": round(seconds, 3),
        "warmcast": importlib.metadata.version("warmcast"),
        **{name: first.get(name) for name in ("torch", "device", "threads", "compiled", "precision")},
        "computations": computations,
    }


def _warnings(computations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    failures = sorted({entry["compilation_failure"] for entry in computations if "compilation_failure" in entry})
    if failures:
        yield f"Networks could not be compiled ({', '.join(failures)}) and were evaluated without."
    if len(computations) > 1:
        yield (
            f"Lead times were computed in {len(computations)} ways, which the receipt lists: they differ from those of "
            "a single way by rounding."
        )
