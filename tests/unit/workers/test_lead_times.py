import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.unit.workers.layouts import LAYOUT
from weather.errors import StoreError
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout
from weather.stores.summary_request import Summary
from workers.lead_times import LeadTimes, StagedSummary, begin_summary, summarise_lead_time
from workers.transfers import DeviceStates


def _fields(group: int, lead_index: int) -> NDArray[np.float32]:
    shape = (len(LAYOUT.group_members(group)), 2, 4, 4)
    return np.random.default_rng([group, lead_index]).normal(size=shape).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> EnsembleStore:
    return EnsembleStore.create(tmp_path / "ensemble.zarr", LAYOUT, {})


def test_groups_in_memory_are_not_read_and_others_are_read_once(store: EnsembleStore) -> None:
    lead_times = LeadTimes(store)
    lead_times.keep(0, 1, _fields(0, 1))
    store.commit(1, 1, _fields(1, 1))
    for _ in range(2):
        found = lead_times.groups(1)
        for group in range(2):
            np.testing.assert_array_equal(found[group], _fields(group, 1))
        (store.path / "u10/c.0.1.1.0.0").unlink(missing_ok=True)


def test_the_four_newest_lead_times_are_kept_until_they_are_discarded(store: EnsembleStore) -> None:
    lead_times = LeadTimes(store)
    for lead_index in range(5):
        for group in range(2):
            lead_times.keep(group, lead_index, _fields(group, lead_index))
    assert all(len(lead_times.groups(lead_index)) == 2 for lead_index in range(1, 5))
    with pytest.raises(StoreError, match=r"u10/c.0.0.0.0.0` is missing"):
        lead_times.groups(0)
    lead_times.discard(1)
    assert len(lead_times.groups(2)) == 2
    with pytest.raises(StoreError, match=r"u10/c.0.1.0.0.0` is missing"):
        lead_times.groups(1)


def test_a_group_committed_by_another_attempt_is_published_before_it_is_read(store: EnsembleStore) -> None:
    published = []

    def publish(group: int, number: int) -> None:
        published.append((group, number))
        store.commit(group, number - 1, _fields(group, number - 1))

    lead_times = LeadTimes(store, publish)
    store.commit(0, 1, _fields(0, 1))
    np.testing.assert_array_equal(lead_times.groups(1)[1], _fields(1, 1))
    assert published == [(1, 2)]


def test_groups_on_a_device_stay_there_unless_one_has_to_be_read(store: EnsembleStore) -> None:
    lead_times = LeadTimes(store)
    for group in range(2):
        lead_times.keep(group, 1, DeviceStates(torch.from_numpy(_fields(group, 1))))
    found = lead_times.groups(1)
    assert all(isinstance(fields, torch.Tensor) for fields in found)
    lead_times.keep(0, 2, DeviceStates(torch.from_numpy(_fields(0, 2))))
    store.commit(1, 2, _fields(1, 2))
    for group, fields in enumerate(lead_times.groups(2)):
        np.testing.assert_array_equal(fields, _fields(group, 2))
        assert isinstance(fields, np.ndarray)


def _begin_summary(store: EnsembleStore, folder: Path, lead_index: int) -> tuple[SummaryStore, StagedSummary]:
    """Begin the summary of a lead time in eight threads, and wait for them."""
    path = folder / "summary.zarr"
    layout = SummaryLayout(LAYOUT, Summary())
    summary = SummaryStore(path, layout) if path.exists() else SummaryStore.create(path, layout, {})
    for group in range(2):
        store.commit(group, lead_index, _fields(group, lead_index))
    with ThreadPoolExecutor(8) as threads:
        staged = begin_summary(summary, LeadTimes(store), lead_index, threads)
    assert staged is not None
    return summary, staged


def test_a_summary_that_threads_have_written_is_complete_and_equal_to_that_of_one_thread(
    store: EnsembleStore, tmp_path: Path
) -> None:
    for lead_index in range(4):
        summary, staged = _begin_summary(store, tmp_path / "several", lead_index)
        staged.complete()
        assert staged.is_written
        assert summary.is_complete(lead_index)
        assert begin_summary(summary, LeadTimes(store), lead_index, ThreadPoolExecutor(1)) is None
    alone = SummaryStore.create(tmp_path / "one/summary.zarr", summary.layout, {})
    for lead_index in range(4):
        summarise_lead_time(alone, LeadTimes(store), lead_index)
    files = {name: (summary.path / name).read_bytes() for name, _ in summary.path.files()}
    assert files == {name: (alone.path / name).read_bytes() for name, _ in alone.path.files()}


def test_a_summary_is_not_complete_if_one_of_its_fields_cannot_be_written(
    store: EnsembleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_statistic = SummaryStore.write_statistic

    def fail(summary: SummaryStore, lead_index: int, name: str, values: NDArray[np.float32]) -> None:
        if name == "v10_spread":
            raise OSError(errno.ENOSPC, "no space")
        write_statistic(summary, lead_index, name, values)

    monkeypatch.setattr(SummaryStore, "write_statistic", fail)
    summary, staged = _begin_summary(store, tmp_path, 0)
    assert not staged.is_written
    with pytest.raises(OSError, match="no space"):
        staged.complete()
    assert not summary.is_complete(0)
