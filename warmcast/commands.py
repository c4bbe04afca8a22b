"""The one table from a command to the function that carries it out, imported when the command runs."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "api": "service.commands:api",
        "bench estimate": "benchmarks.estimates:estimates",
        "bench engine": "benchmarks.engine:engine",
        "bench networks": "benchmarks.networks:networks",
        "bench scores": "benchmarks.scores:scores",
        "cancel": "warmcast.remote:cancel",
        "climatology": "training.commands:build_climatology",
        "doctor": "workers.doctor:doctor",
        "download": "warmcast.remote:download",
        "evaluate": "training.commands:evaluate_checkpoint",
        "forecast": "workers.commands:forecast",
        "key create": "service.commands:make_key",
        "key list": "service.commands:show_keys",
        "key revoke": "service.commands:withdraw_key",
        "list": "warmcast.remote:list_forecasts",
        "plot": "diagnostics.plot:plot",
        "replay": "warmcast.remote:replay",
        "serve": "service.commands:serve",
        "status": "warmcast.remote:status",
        "submit": "warmcast.remote:submit",
        "train": "training.commands:train_from_files",
        "verify": "diagnostics.verification:verify",
        "watch": "warmcast.remote:watch",
        "worker": "workers.serving:work",
    }
)


def run(command: str, **options: Any) -> dict[str, Any]:
    """Carry out a command and return its receipt, ready for JSON."""
    module, function = COMMANDS[command].split(":")
    receipt: dict[str, Any] = getattr(importlib.import_module(module), function)(**options)
    return receipt
