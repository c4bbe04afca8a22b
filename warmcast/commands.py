"""The table from each command to its function, which is imported when the command runs."""

import gc
import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from warmcast.errors import MissingExtraError

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "api": "service.commands:serve_api",
        "batch cancel": "warmcast.remote_batch_commands:cancel",
        "batch delete": "warmcast.remote_batch_commands:delete",
        "batch list": "warmcast.remote_batch_commands:list_batches",
        "batch restart": "warmcast.remote_batch_commands:restart",
        "batch status": "warmcast.remote_batch_commands:status",
        "batch submit": "warmcast.remote_batch_commands:submit",
        "batch watch": "warmcast.remote_batch_commands:watch",
        "bench estimate": "benchmarks.estimates:bench_estimates",
        "bench engine": "benchmarks.engine:bench_engine",
        "bench load": "benchmarks.load:bench_load",
        "bench loader": "benchmarks.loader:bench_loader",
        "bench networks": "benchmarks.networks:bench_networks",
        "bench page": "benchmarks.page:bench_page",
        "bench polling": "benchmarks.polling:bench_polling",
        "bench queue": "benchmarks.queues:bench_queue",
        "bench reading": "benchmarks.reading:bench_reading",
        "bench scores": "benchmarks.scores:bench_scores",
        "bench training": "benchmarks.training:bench_training",
        "calibrate": "training.calibration.command:calibrate_checkpoint",
        "cancel": "warmcast.remote:cancel",
        "catalogue": "warmcast.remote:catalogue",
        "catalogue try": "jobs.dataset_command:try_dataset",
        "checkpoint average": "models.averaging:average_checkpoints",
        "checkpoint export": "models.checkpoint_checks:export_checkpoint",
        "checkpoint extremes": "training.commands:add_extremes",
        "checkpoint import": "weather.checkpoint_archive:import_checkpoint",
        "checkpoint inspect": "weather.checkpoint_report:inspect_checkpoint",
        "checkpoint verify": "models.checkpoint_checks:verify_checkpoint",
        "climatology": "training.commands:build_climatology",
        "delete": "warmcast.remote:delete",
        "diagnostics": "warmcast.remote:diagnostics",
        "doctor": "workers.doctor:check_machine",
        "download": "warmcast.remote:download",
        "evaluate": "training.evaluation.command:evaluate_checkpoint",
        "export": "weather.exports.command:export_forecast",
        "forecast": "workers.commands:run_from_options",
        "inspect": "weather.commands:inspect_files",
        "area": "warmcast.remote:area",
        "audit": "jobs.key_commands:show_audit",
        "key create": "jobs.key_commands:create_api_key",
        "key limit": "jobs.key_commands:limit_api_key",
        "key list": "jobs.key_commands:list_api_keys",
        "key revoke": "jobs.key_commands:revoke_api_key",
        "key rotate": "jobs.key_commands:rotate_api_key",
        "limits": "warmcast.remote:limits",
        "usage": "warmcast.remote:usage",
        "list": "warmcast.remote:list_forecasts",
        "models": "warmcast.remote:models",
        "log": "warmcast.remote:log",
        "nature-compare": "training.nature.comparison:compare_nature_runs",
        "nature-run": "training.nature.commands:make_nature_run",
        "open": "warmcast.remote_stores:open_stored",
        "openapi": "service.commands:describe_api",
        "plan": "warmcast.remote:plan",
        "plot": "diagnostics.figures.plot:plot",
        "position": "warmcast.remote:position",
        "receipt": "warmcast.remote:receipt",
        "repair": "workers.repair:repair_forecasts",
        "replay": "warmcast.remote:replay",
        "scrub": "jobs.commands:scrub_forecasts",
        "serve": "service.commands:serve",
        "schedules create": "warmcast.remote_schedules:create",
        "schedules delete": "warmcast.remote_schedules:delete",
        "schedules latest": "warmcast.remote_schedules:latest",
        "schedules list": "warmcast.remote_schedules:list_schedules",
        "schedules pause": "warmcast.remote_schedules:pause",
        "schedules resume": "warmcast.remote_schedules:resume",
        "schedules runs": "warmcast.remote_schedules:runs",
        "schedules show": "warmcast.remote_schedules:show",
        "states delete": "warmcast.remote:delete_state",
        "states list": "warmcast.remote:list_states",
        "states show": "warmcast.remote:show_state",
        "states upload": "warmcast.remote:upload_state",
        "status": "warmcast.remote:status",
        "storage adopt": "jobs.commands:adopt_storage",
        "storage delete-lost": "jobs.commands:delete_lost",
        "storage show": "jobs.commands:show_storage",
        "submit": "warmcast.remote:submit",
        "train": "training.commands:train_from_files",
        "verify": "diagnostics.evaluation.verification:verify",
        "verify ID": "warmcast.remote:verify",
        "watch": "warmcast.remote:watch",
        "worker": "workers.run:run_worker",
    }
)
"""The function of each command; `verify ID` is that of `verify` for a forecast of a service."""

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "nature-compare": "nature",
        "nature-run": "nature",
        "plot": "plot",
        "serve": "service,worker",
        "verify": "worker",
        "benchmarks": "dev",
        "jobs": "jobs",
        "models": "worker",
        "service": "service",
        "training": "train",
        "weather": "service",
        "workers": "worker",
    }
)
"""The extra with the dependencies of a command, by the command's name or the package of its function."""

_IMPORTED_LATER: Mapping[str, str] = MappingProxyType({"nature-compare": "netCDF4", "nature-run": "jcm"})
"""A package that a command needs, though the module of its function does not import it."""

_ROOT = Path(__file__).parents[1]
_PACKAGES = {target.partition(".")[0] for target in COMMANDS.values()} | {"jobs", "models", "storage", "weather"}


def run(command: str, **options: Any) -> dict[str, Any]:
    """Run a command and return its receipt, ready for JSON.

    Raises `MissingExtraError` if the command needs packages that are not installed.
    """
    name, function = COMMANDS[command].split(":")
    receipt: dict[str, Any] = getattr(_load(command, name), function)(**options)
    return receipt


def _load(command: str, name: str) -> ModuleType:
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"`warmcast {command}` needs the package `{package}` of Warmcast, which is missing.")
    _check_origin(command, {package})
    try:
        return _import(command, name)
    except Exception as error:
        _check_origin(command, _PACKAGES)
        if not isinstance(error, ModuleNotFoundError):
            raise
        missing = str(error.name)
        if missing.partition(".")[0] in _PACKAGES:
            raise
        raise MissingExtraError(
            f"`warmcast {command}` needs packages that are not installed, such as `{missing}`. Install them: "
            f"pip install 'warmcast[{EXTRAS.get(command) or EXTRAS[package]}]'"
        ) from error


def _import(command: str, name: str) -> ModuleType:
    with _no_collections():
        module = importlib.import_module(name)
    later = _IMPORTED_LATER.get(command)
    if later is not None and importlib.util.find_spec(later) is None:
        raise ModuleNotFoundError(name=later)
    return module


@contextmanager
def _no_collections() -> Iterator[None]:
    """Pause the collection of garbage, of which imports make next to none: it takes a fifth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_origin(command: str, packages: Set[str]) -> None:
    """Raise `MissingExtraError` if a module of the user's own is found instead of one of Warmcast's packages."""
    for package in sorted(packages):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None and Path(spec.origin).parent.parent != _ROOT:
            raise MissingExtraError(
                f"`warmcast {command}` needs the package `{package}` of Warmcast, but it was found in "
                f"`{spec.origin}`, which is not Warmcast's. Run the command in another folder."
            )
