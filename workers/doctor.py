"""`warmcast doctor`: check whether this machine can run forecasts, as a report to paste into a bug report."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from jobs.dispatching.dispatch import celery_app
from jobs.installation import survey
from jobs.rows.database import Database
from jobs.settings import Settings
from storage.errors import DataDirectoryError, WarmcastError
from weather.bundled import catalogue_states, find_checkpoint, find_named_checkpoint, list_checkpoints
from weather.errors import CheckpointError, InitialStateError
from weather.ingest.parent import ingest_initial_state
from weather.ingest.sandbox import find_missing_protections
from weather.initial_state import read_initial_state
from weather.manifest import ModelSpec, read_manifest
from workers.commands import sample_files
from workers.device import find_device
from workers.gpu_self_test import run_gpu_self_test
from workers.self_test import Finding, Subject, run_self_test


def check_machine(
    *, checkpoint: str, checkpoint_folders: Sequence[Path], device: str, threads: int | None
) -> dict[str, Any]:
    """Check the machine, the data folder and servers named by the settings, and a checkpoint on a device."""
    if threads:
        torch.set_num_threads(threads)
    settings, chosen = Settings.read(), find_device(device)
    folder = find_checkpoint(checkpoint, checkpoint_folders)
    manifest = read_manifest(folder)
    state = read_initial_state(sample_files(), manifest.model, None)
    findings = [
        *_describe_machine(chosen),
        check_parser(manifest.model),
        *_check_services(settings),
        *_check_checkpoints(checkpoint_folders),
        Finding("checkpoint", f"{manifest.name} {manifest.digest[:12]}", True),
        *run_self_test(Subject.of(folder, manifest, chosen, state)),
        *(run_gpu_self_test(Subject.of(folder, manifest, chosen, state)) if chosen.type == "cuda" else ()),
    ]
    return {
        "is_well": all(finding.is_well for finding in findings),
        "findings": [{"name": each.name, "found": each.found, "is_well": each.is_well} for each in findings],
    }


def check_parser(spec: ModelSpec) -> Finding:
    """Have the process for uploads parse the bundled analyses, of GRIB and NetCDF files, one state after another.

    The finding names protections that the kernel lacks.
    """
    missing = find_missing_protections()
    try:
        for state in catalogue_states():
            if state.dataset == "gfs":
                ingest_initial_state(state.files, [path.name for path in state.files], spec, None)
    except (InitialStateError, OSError) as error:
        return Finding("parser", str(error), False)
    return Finding("parser", " ".join(missing) or "confined by Landlock and seccomp", not missing)


def _check_checkpoints(folders: Sequence[Path]) -> Iterator[Finding]:
    """Yield a finding for each checkpoint that the service does not offer because its manifest is invalid."""
    for name in list_checkpoints(folders):
        try:
            read_manifest(find_named_checkpoint(name, folders))
        except CheckpointError as error:
            yield Finding(f"checkpoint {name}", str(error), False)


def _describe_machine(device: torch.device) -> list[Finding]:
    cuda = device.type == "cuda"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    name = platform.processor() or platform.machine()
    if cuda:
        name, memory = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
    versions = f"Warmcast {importlib.metadata.version('warmcast')}, PyTorch {torch.__version__}"
    return [
        Finding("versions", f"{versions}, Python {platform.python_version()}, {platform.system()}", True),
        Finding("device", f"{device}: {name}, {memory / 1e9:.0f} GB, {torch.get_num_threads()} threads", True),
    ]


def _check_services(settings: Settings) -> list[Finding]:
    """Check the data folder, without creating it, and the database and Redis if the settings name them."""
    data = settings.storage.data.resolve()
    existing = next(folder for folder in (data, *data.parents) if folder.exists())
    free, writable = shutil.disk_usage(existing).free, os.access(existing, os.W_OK)
    findings = [Finding("data", f"{settings.storage.data}: {free / 1e9:.0f} GB free", writable)]
    if settings.storage.database_url is not None:
        findings.append(_check_connection("database", lambda: Database(settings.storage.sql_url).migrate()))
    findings.append(_check_installation(settings))
    if settings.service.dispatcher == "celery":
        findings.append(
            _check_connection("redis", lambda: celery_app(settings).connection().ensure_connection(max_retries=1))
        )
    return findings


def _check_installation(settings: Settings) -> Finding:
    """Check that the database and the data place are of one installation, without creating either."""
    try:
        found = survey(settings.storage)
    except (WarmcastError, OSError, SQLAlchemyError) as error:
        return Finding("installation", str(error).splitlines()[0], False)
    identities = {found["database_identity"], found["data_identity"]}
    if identities == {None}:
        return Finding("installation", "none yet", True)
    text = "database and data belong together" if found["is_same"] else "see `warmcast storage show`"
    return Finding("installation", text, found["is_same"])


def _check_connection(name: str, connect: Callable[[], object]) -> Finding:
    try:
        connect()
    except (DataDirectoryError, OperationalError, OSError, SQLAlchemyError) as error:
        return Finding(name, str(error).splitlines()[0], False)
    return Finding(name, "answers", True)
