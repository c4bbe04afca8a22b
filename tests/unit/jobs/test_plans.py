import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.errors import DeadlineError
from jobs.planning import Compression, Estimator, Machine, QueuedForecast, Speed
from jobs.plans import check_room, make_plan, with_chosen_nfe
from jobs.request import ForecastRequest
from jobs.speeds import demand_of
from storage.paths import storage_path
from weather.errors import StoreError
from weather.manifest import Manifest, Sampling, read_manifest

CPU = Machine("cpu", 1)
FIELD_BYTES = 2 * 16 * 32 * 4


@pytest.fixture
def manifest(untrained_checkpoint: Path) -> Manifest:
    return read_manifest(untrained_checkpoint)


@pytest.fixture
def asked(manifest: Manifest) -> ForecastRequest:
    """5 members in groups of 2, 4 lead times, 2 evaluations a step."""
    return ForecastRequest(
        checkpoint="untrained", checkpoint_digest=manifest.digest, initial_state_digest="0", sources=("drawn",),
        init_time="2018-09-15T00:00:00", lead_hours=24, members=5, group_size=2, seed=3, sampling=Sampling(nfe=2),
    )  # fmt: skip


@pytest.fixture
def outlook(manifest: Manifest) -> Estimator:
    """One worker that takes 1 s for everything."""
    speeds = {manifest.digest: [(CPU, Speed(2, 1.0, 1.0, 1.0, 5e6))]}
    return Estimator(speeds, {manifest.digest: [Compression(2, 0.5, 1000.0)]}, [CPU], [])


def test_a_plan_adds_up(outlook: Estimator, asked: ForecastRequest, manifest: Manifest) -> None:
    queue = [QueuedForecast(demand_of(asked, 4), 1.0, 0.5, 1000)]
    plan = make_plan(replace(outlook, queue=queue), asked, manifest)
    assert plan.uncompressed_bytes == 5 * 4 * FIELD_BYTES
    assert plan.store_bytes is not None
    assert 0 < plan.store_bytes - (plan.uncompressed_bytes / 2 + 1000) < 1000
    assert (plan.seconds, plan.wait_seconds) == (3 * 4 * 4, 3 * 4 * 4 / 2)
    assert plan.memory_bytes == 5_000_000 + 3 * 5 * FIELD_BYTES
    assert not plan.is_scaled


def test_a_plan_of_what_was_never_measured_says_so(asked: ForecastRequest, manifest: Manifest) -> None:
    plan = make_plan(Estimator({}, {}, [CPU], []), asked, manifest)
    assert (plan.seconds, plan.store_bytes, plan.memory_bytes, plan.wait_seconds) == (None, None, None, 0)
    assert plan.uncompressed_bytes == 5 * 4 * FIELD_BYTES


@pytest.mark.parametrize(("deadline", "nfe"), [(3600.0, 4), (90.0, 4), (80.0, 2), (48.0, 2), (None, 2)])
def test_the_evaluations_are_what_the_deadline_leaves(
    deadline: float | None, nfe: int, outlook: Estimator, asked: ForecastRequest, manifest: Manifest
) -> None:
    automatic = asked.model_copy(update={"deadline_seconds": deadline, "nfe_is_automatic": True})
    chosen = with_chosen_nfe(outlook, automatic, manifest)
    assert chosen.sampling == asked.sampling.model_copy(update={"nfe": nfe})
    assert chosen.digest == automatic.digest


def test_evaluations_that_the_caller_chose_stay(outlook: Estimator, asked: ForecastRequest, manifest: Manifest) -> None:
    hurried = asked.model_copy(update={"deadline_seconds": 1.0})
    assert with_chosen_nfe(outlook, hurried, manifest) == hurried
    with pytest.raises(DeadlineError, match="must be at least 48"):
        with_chosen_nfe(outlook, hurried.model_copy(update={"nfe_is_automatic": True}), manifest)


def test_the_disk_must_have_room_beside_what_others_will_still_write(
    outlook: Estimator, asked: ForecastRequest, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(outlook, asked, manifest)
    assert plan.store_bytes is not None
    free = plan.room_bytes + 1_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    half_done = QueuedForecast(demand_of(asked, 4), 1.0, 0.5, 2_000_000)
    check_room(replace(outlook, queue=[half_done]), plan, storage_path(tmp_path))
    with pytest.raises(StoreError, match="1 MB are taken by forecasts that were accepted before"):
        check_room(replace(outlook, queue=[replace(half_done, expected_bytes=2_000_002)]), plan, storage_path(tmp_path))
    with pytest.raises(StoreError):
        check_room(
            replace(outlook, queue=[half_done]),
            replace(plan, store_bytes=None, uncompressed_bytes=free),
            storage_path(tmp_path),
        )


def test_requests_from_before_there_were_deadlines_keep_their_digest(asked: ForecastRequest) -> None:
    before = asked.model_dump(mode="json", exclude={"group_size", "deadline_seconds", "nfe_is_automatic"})
    assert asked.digest == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
