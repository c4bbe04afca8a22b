from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from weather.errors import StoreError
from weather.grids import Grid
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from workers.lead_times import LeadTimes
from workers.transfers import DeviceStates

LAYOUT = Layout(
    init_time=np.datetime64("2018-09-15T00", "s"),
    num_lead_times=4,
    time_step=np.timedelta64(6, "h"),
    members=(0, 1, 2),
    group_size=2,
    variables=("u10", "v10"),
    grid=Grid((67.5, 22.5, -22.5, -67.5), (0.0, 90.0, 180.0, 270.0)),
)


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
