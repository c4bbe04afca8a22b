import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.dispatching.live_workers import Machine
from jobs.errors import DeadlineError
from jobs.planning.estimates import Compression, Estimator, RunningForecast, Speed, demand_of
from jobs.planning.plans import Plan, check_free_space, restart_bytes
from jobs.request import ForecastRequest, Output
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
    running = [RunningForecast(demand_of(request_of_5, 4), 0.5, 1000)]
    plan = Plan.of(request_of_5, manifest).with_estimates(replace(estimator, running=running), manifest, "a")
    assert plan.members_bytes == 5 * 4 * FIELD_BYTES
    assert plan.store_bytes is not None
    assert 0 < plan.store_bytes - (plan.members_bytes / 2 + 1000) < 1000
    assert (plan.seconds, plan.wait_seconds) == (3 * 4 * 4, 3 * 4 * 4 / 2)
    assert plan.memory_bytes == 5_000_000 + 3 * 5 * FIELD_BYTES
    assert plan.network_evaluations == 5 * 4 * 3
    assert not plan.is_scaled


def test_estimates_without_measurements_are_none(request_of_5: ForecastRequest, manifest: Manifest) -> None:
    plan = Plan.of(request_of_5, manifest).with_estimates(Estimator({}, {}, [CPU]), manifest, "a")
    assert (plan.seconds, plan.store_bytes, plan.memory_bytes, plan.wait_seconds) == (None, None, None, 0)
    assert plan.members_bytes == 5 * 4 * FIELD_BYTES
    assert plan.expected_bytes == plan.uncompressed_bytes


@pytest.mark.parametrize(("deadline", "nfe"), [(3600.0, 4), (90.0, 4), (80.0, 2), (48.0, 2), (None, 2)])
def test_an_automatic_nfe_is_the_largest_that_meets_the_deadline(
    deadline: float | None, nfe: int, estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    automatic = request_of_5.model_copy(update={"deadline_seconds": deadline, "nfe_is_automatic": True})
    planned = Plan.of(automatic, manifest).with_estimates(estimator, manifest, "a").request
    assert planned.sampling == request_of_5.sampling.model_copy(update={"nfe": nfe})
    assert planned.digest == automatic.digest


def test_an_explicit_nfe_is_not_changed(
    estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    urgent = request_of_5.model_copy(update={"deadline_seconds": 1.0})
    assert Plan.of(urgent, manifest).with_estimates(estimator, manifest, "a").request == urgent
    automatic = urgent.model_copy(update={"nfe_is_automatic": True})
    with pytest.raises(DeadlineError, match="must be at least 48"):
        Plan.of(automatic, manifest).with_estimates(estimator, manifest, "a")


def test_free_space_must_suffice_for_the_plan_and_for_queued_forecasts(
    estimator: Estimator,
    request_of_5: ForecastRequest,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = Plan.of(request_of_5, manifest).with_estimates(estimator, manifest, "a")
    assert plan.store_bytes is not None
    free = plan.expected_bytes + 1_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    half_done = RunningForecast(demand_of(request_of_5, 4), 0.5, 2_000_000)
    check_free_space(replace(estimator, running=[half_done]), plan, storage_path(tmp_path))
    larger = replace(half_done, expected_bytes=2_000_002)
    with pytest.raises(StorageFullError, match=r"take 0\.2 MB, but of 1\.2 MB that are free, 1\.0 MB are reserved"):
        check_free_space(replace(estimator, running=[larger]), plan, storage_path(tmp_path))
    unmeasured = replace(plan, store_bytes=None, members_bytes=free)
    with pytest.raises(StorageFullError):
        check_free_space(replace(estimator, running=[half_done]), unmeasured, storage_path(tmp_path))


def _plan(request: ForecastRequest, manifest: Manifest, estimator: Estimator, **changes: object) -> Plan:
    changed = ForecastRequest.model_validate(request.model_dump() | changes)
    return Plan.of(changed, manifest).with_estimates(estimator, manifest, "a")


@pytest.mark.parametrize(
    ("name", "values", "growing"),
    [
        ("members", [1, 2, 3, 5, 8, 40], {"members_bytes", "store_bytes", "memory_bytes", "expected_bytes"}),
        ("lead_hours", [6, 12, 24, 240], {"members_bytes", "other_bytes", "store_bytes", "expected_bytes"}),
        ("sampling", [Sampling(nfe=nfe) for nfe in (2, 4, 6, 20)], set()),
    ],
)
def test_estimates_grow_with_members_lead_time_and_evaluations(
    name: str,
    values: list[object],
    growing: set[str],
    estimator: Estimator,
    request_of_5: ForecastRequest,
    manifest: Manifest,
) -> None:
    plans = [_plan(request_of_5, manifest, estimator, **{name: value}) for value in values]
    evaluations = [plan.network_evaluations for plan in plans]
    assert evaluations == sorted(set(evaluations)), "strictly more evaluations"
    seconds = [plan.seconds or 0.0 for plan in plans]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1]
    for size in ("members_bytes", "other_bytes", "store_bytes", "memory_bytes", "expected_bytes"):
        sizes = [getattr(plan, size) for plan in plans]
        assert sizes == sorted(sizes), size
        assert len(set(sizes)) == (len(values) if size in growing else 1), size


def test_more_workers_and_a_shorter_queue_never_make_a_plan_slower(
    estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    seconds = [
        _plan(request_of_5, manifest, replace(estimator, machines=[CPU] * number)).seconds for number in (1, 2, 3, 4)
    ]
    assert seconds == [3 * 16, 2 * 16, 16, 16]


def test_a_plan_without_live_workers_has_a_duration_but_no_wait(
    estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    plan = _plan(request_of_5, manifest, replace(estimator, machines=[]))
    assert (plan.seconds, plan.wait_seconds) == (48, None)


def test_without_measurements_every_deadline_is_accepted(request_of_5: ForecastRequest, manifest: Manifest) -> None:
    """A first forecast must be accepted, or its checkpoint would never be measured."""
    unmeasured = Estimator({}, {}, [CPU], [])
    plan = _plan(request_of_5, manifest, unmeasured, deadline_seconds=0.001, nfe_is_automatic=True)
    assert plan.request.sampling.nfe == manifest.sampling.nfe
    assert plan.seconds is None


@pytest.mark.parametrize("members", [1, 5, 8])
def test_other_bytes_are_those_of_the_summary_and_of_the_exact_lead_times_to_restart_from(
    members: int, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    exact, rounded, summary_only = (
        Plan.of(request_of_5.model_copy(update={"members": members, "output": output}), manifest)
        for output in (Output(), Output(keep_bits=5), Output(members=False))
    )
    assert exact.members_bytes == rounded.members_bytes == members * 4 * FIELD_BYTES
    assert summary_only.members_bytes == 0
    restart = 4 * members * FIELD_BYTES
    assert rounded.other_bytes == summary_only.other_bytes == exact.other_bytes + restart
    assert summary_only.uncompressed_bytes == summary_only.other_bytes


def test_a_short_forecast_keeps_at_most_its_own_lead_times_to_restart_from(
    request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    sizes = []
    for lead_hours in (6, 12, 24, 240):
        layout = Plan.of(request_of_5.model_copy(update={"lead_hours": lead_hours}), manifest).layout
        sizes.append(tuple(restart_bytes(layout, frames) // (5 * FIELD_BYTES) for frames in (2, 3)))
    assert sizes == [(1, 1), (2, 2), (4, 4), (7, 8)]


def test_the_compression_of_exact_members_is_not_used_for_rounded_ones(
    estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest
) -> None:
    plan = _plan(request_of_5, manifest, estimator, output=Output(keep_bits=5))
    assert plan.store_bytes is None
    assert plan.expected_bytes == plan.uncompressed_bytes
    without_members = _plan(request_of_5, manifest, estimator, output=Output(members=False))
    assert without_members.expected_bytes == without_members.other_bytes + (without_members.store_bytes or 0)


def test_a_scaled_speed_is_marked(estimator: Estimator, request_of_5: ForecastRequest, manifest: Manifest) -> None:
    plan = _plan(request_of_5, manifest, estimator, group_size=5)
    assert plan.is_scaled
    assert plan.memory_bytes is None
    assert plan.seconds == pytest.approx(4 * 4 * 5 / 2)


def test_the_numbers_of_members_do_not_change_the_size(request_of_5: ForecastRequest, manifest: Manifest) -> None:
    numbered = request_of_5.model_copy(update={"member_numbers": (90, 3, 7, 4, 1)})
    plan = Plan.of(numbered, manifest)
    assert plan.layout.members == (90, 3, 7, 4, 1)
    assert plan.members_bytes == Plan.of(request_of_5, manifest).members_bytes
