import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.errors import DeadlineError
from jobs.machine import Machine
from jobs.planning.estimates import Compression, Estimator, QueuedForecast, Speed, demand_of
from jobs.planning.plans import Plan, check_free_space
from jobs.request import ForecastRequest
from storage.paths import storage_path
from weather.errors import StorageFullError
from weather.manifest import Manifest, Sampling, read_manifest

CPU = Machine("cpu", 1)
FIELD_BYTES = 2 * 16 * 32 * 4


@pytest.fixture
def manifest(untrained_checkpoint: Path) -> Manifest:
    return read_manifest(untrained_checkpoint)


@pytest.fixture
def request_of_5(manifest: Manifest) -> ForecastRequest:
    """5 members in groups of 2, 4 lead times, 2 evaluations a step."""
    return ForecastRequest(
        checkpoint="untrained",
        checkpoint_digest=manifest.digest,
        initial_state_digest="0",
        sources=("drawn",),
        init_time="2018-09-15T00:00:00",
        lead_hours=24,
        members=5,
        group_size=2,
        seed=3,
        sampling=Sampling(nfe=2),
    )


@pytest.fixture
def estimator(manifest: Manifest) -> Estimator:
    """One live worker with 1 s for each part of a lead time."""
    speeds = {manifest.digest: [(CPU, Speed(2, 1.0, 1.0, 1.0, 5e6))]}
    return Estimator(speeds, {manifest.digest: [Compression(2, 0.5, 1000.0)]}, [CPU], [])


def test_estimates_follow_from_speeds_compression_and_queue(
    estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    queue = [QueuedForecast(demand_of(request_of_5, 4), 1.0, 0.5, 1000)]
    plan = Plan.of(request_of_5, manifest).with_estimates(replace(estimator, queue=queue), manifest)
    assert plan.members_bytes == 5 * 4 * FIELD_BYTES
    assert plan.store_bytes is not None
    assert 0 < plan.store_bytes - (plan.members_bytes / 2 + 1000) < 1000
    assert (plan.seconds, plan.wait_seconds) == (3 * 4 * 4, 3 * 4 * 4 / 2)
    assert plan.memory_bytes == 5_000_000 + 3 * 5 * FIELD_BYTES
    assert plan.network_evaluations == 5 * 4 * 3
    assert not plan.is_scaled


def test_estimates_without_measurements_are_none(request_of_5: ForecastRequest, manifest: Manifest) -> None:
    plan = Plan.of(request_of_5, manifest).with_estimates(Estimator({}, {}, [CPU], []), manifest)
    assert (plan.seconds, plan.store_bytes, plan.memory_bytes, plan.wait_seconds) == (None, None, None, 0)
    assert plan.members_bytes == 5 * 4 * FIELD_BYTES
    assert plan.expected_bytes == plan.uncompressed_bytes


@pytest.mark.parametrize(("deadline", "nfe"), [(3600.0, 4), (90.0, 4), (80.0, 2), (48.0, 2), (None, 2)])
def test_an_automatic_nfe_is_the_largest_that_meets_the_deadline(
    deadline: float | None, nfe: int, estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    automatic = request_of_5.model_copy(update={"deadline_seconds": deadline, "nfe_is_automatic": True})
    planned = Plan.of(automatic, manifest).with_estimates(estimator, manifest).request
    assert planned.sampling == request_of_5.sampling.model_copy(update={"nfe": nfe})
    assert planned.digest == automatic.digest


def test_an_explicit_nfe_is_not_changed(
    estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    urgent = request_of_5.model_copy(update={"deadline_seconds": 1.0})
    assert Plan.of(urgent, manifest).with_estimates(estimator, manifest).request == urgent
    automatic = urgent.model_copy(update={"nfe_is_automatic": True})
    with pytest.raises(DeadlineError, match="must be at least 48"):
        Plan.of(automatic, manifest).with_estimates(estimator, manifest)


def test_free_space_must_suffice_for_the_plan_and_for_queued_forecasts(
    estimator: Estimator,
    request_of_5: ForecastRequest,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = Plan.of(request_of_5, manifest).with_estimates(estimator, manifest)
    assert plan.store_bytes is not None
    free = plan.expected_bytes + 1_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    half_done = QueuedForecast(demand_of(request_of_5, 4), 1.0, 0.5, 2_000_000)
    check_free_space(replace(estimator, queue=[half_done]), plan, storage_path(tmp_path))
    larger = replace(half_done, expected_bytes=2_000_002)
    with pytest.raises(StorageFullError, match="1 MB are reserved for forecasts that were accepted before"):
        check_free_space(replace(estimator, queue=[larger]), plan, storage_path(tmp_path))
    unmeasured = replace(plan, store_bytes=None, members_bytes=free)
    with pytest.raises(StorageFullError):
        check_free_space(replace(estimator, queue=[half_done]), unmeasured, storage_path(tmp_path))


def test_the_digest_of_a_request_without_a_deadline_has_not_changed(request_of_5: ForecastRequest) -> None:
    before = request_of_5.model_dump(mode="json", exclude={"group_size", "deadline_seconds", "nfe_is_automatic"})
    assert request_of_5.digest == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
