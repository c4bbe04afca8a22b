"""Each operation of the API has a method of the client, or a reason why it has none."""

import json
from pathlib import Path

import pytest

from warmcast import AsyncClient, AsyncRemoteForecast, Client, RemoteForecast

DOCUMENT = Path(__file__).parents[3] / "docs/openapi.json"
FORECAST = "/v1/forecast/{forecast_id}"
OF_CLIENT = {
    "GET /v1/catalogue": "catalogue",
    "GET /v1/datasets": "datasets",
    "GET /v1/forecast": "list",
    "GET /v1/limits": "limits",
    "GET /v1/models": "models",
    "GET /v1/models/{model}": "model",
    "POST /v1/forecast": "submit",
    "POST /v1/inspect": "inspect",
    f"GET {FORECAST}": "forecast",
}
OF_FORECAST = {
    f"DELETE {FORECAST}": "delete",
    f"GET {FORECAST}/area": "area",
    f"GET {FORECAST}/as-of/{{num_lead_times}}/ensemble.zarr.zip": "download",
    f"GET {FORECAST}/as-of/{{num_lead_times}}/ensemble.zarr/{{key}}": "to_xarray",
    f"GET {FORECAST}/as-of/{{num_lead_times}}/summary.zarr.zip": "download",
    f"GET {FORECAST}/as-of/{{num_lead_times}}/summary.zarr/{{key}}": "to_xarray",
    f"GET {FORECAST}/cube": "area",
    f"GET {FORECAST}/diagnostics": "diagnostics",
    f"GET {FORECAST}/ensemble.grib2": "download",
    f"GET {FORECAST}/ensemble.nc": "download",
    f"GET {FORECAST}/ensemble.zarr.zip": "download",
    f"GET {FORECAST}/ensemble.zarr/{{key}}": "to_xarray",
    f"GET {FORECAST}/events": "events",
    f"GET {FORECAST}/initial_state.zarr/{{key}}": "initial_state",
    f"GET {FORECAST}/log": "log",
    f"GET {FORECAST}/plots/maps.png": "maps",
    f"GET {FORECAST}/plots/plume.png": "plume",
    f"GET {FORECAST}/position": "position",
    f"GET {FORECAST}/receipt": "receipt",
    f"GET {FORECAST}/summary.grib2": "download",
    f"GET {FORECAST}/summary.nc": "download",
    f"GET {FORECAST}/summary.zarr/{{key}}": "to_xarray",
    f"POST {FORECAST}/replay": "replay",
    f"POST {FORECAST}/verify": "verify",
}
OTHERS = {
    "/": "a page for people and OGC clients",
    "/api": "has clients of its own, such as ecmwf-datastores-client",
    "/healthz": "for monitoring",
    "/metrics": "for monitoring",
    "/readyz": "for monitoring",
    "/v1/audit": "for operators, who read it with curl",
    "/v1/usage": "for operators, who read it with curl",
    "/v1/batch": "has methods of its own kind",
    "/v1/forecast/{forecast_id}/deliveries": "for whoever sets up a callback, with curl",
    "/v1/schedules": "has methods of its own kind",
    "/v1/states": "has methods of its own kind",
}
"""Beginnings of paths without a method here, and the reason."""


def _operations() -> list[str]:
    paths = json.loads(DOCUMENT.read_text())["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


def _has_reason(operation: str) -> bool:
    path = operation.partition(" ")[2]
    return any(path == start or path.startswith(f"{start}/") for start in OTHERS)


@pytest.mark.parametrize("operation", _operations())
def test_an_operation_has_a_method_or_a_reason(operation: str) -> None:
    assert (operation in OF_CLIENT or operation in OF_FORECAST) != _has_reason(operation)


@pytest.mark.parametrize(
    ("methods", "kinds"), [(OF_CLIENT, (Client, AsyncClient)), (OF_FORECAST, (RemoteForecast, AsyncRemoteForecast))]
)
def test_the_methods_exist_for_operations_that_exist(methods: dict[str, str], kinds: tuple[type, ...]) -> None:
    assert set(methods) <= set(_operations())
    for kind in kinds:
        assert [name for name in methods.values() if not callable(getattr(kind, name, None))] == []
