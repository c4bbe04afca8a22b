import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.unit.workers.layouts import LAYOUT
from weather.stores.ensemble import EnsembleStore
from workers.chunk_writers import ChunkWriters
from workers.rollouts import GroupStates
from workers.transfers import DeviceStates


def _states(group: int, lead_index: int) -> GroupStates:
    """States of a group, in which at the last lead time the first member is lost in one variable."""
    shape = (len(LAYOUT.group_members(group)), 2, 4, 4)
    fields = np.random.default_rng([group, lead_index]).normal(size=shape).astype(np.float32)
    if lead_index == 3:
        fields[0, 0] = np.nan
    return GroupStates(group, lead_index, DeviceStates(torch.from_numpy(fields)), lambda: fields)


@pytest.mark.parametrize("threads", [1, 5])
def test_lead_times_that_threads_have_written_equal_those_of_one_call(tmp_path: Path, threads: int) -> None:
    store = EnsembleStore.create(tmp_path / "several/ensemble.zarr", LAYOUT, {})
    alone = EnsembleStore.create(tmp_path / "one/ensemble.zarr", LAYOUT, {})
    with ChunkWriters(threads) as writers:
        staged = [writers.begin(_states(group, lead), store) for lead in range(4) for group in range(2)]
        for each in staged:
            fields = each.complete()
            assert each.is_written
            assert store.is_complete(store.path, each.states.group, each.states.lead_index)
            alone.commit(each.states.group, each.states.lead_index, fields)
    files = {name: (store.path / name).read_bytes() for name, _ in store.path.files()}
    assert files == {name: (alone.path / name).read_bytes() for name, _ in alone.path.files()}


def test_a_lead_time_is_not_complete_if_one_of_its_variables_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, write_variable = EnsembleStore.create(tmp_path / "ensemble.zarr", LAYOUT, {}), EnsembleStore.write_variable

    def fail(
        ensemble: EnsembleStore, group: int, lead_index: int, channel: int, fields: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        if channel == 0:
            raise OSError(errno.ENOSPC, "no space")
        return write_variable(ensemble, group, lead_index, channel, fields)

    monkeypatch.setattr(EnsembleStore, "write_variable", fail)
    with ChunkWriters(2) as writers:
        staged = writers.begin(_states(0, 0), store)
        with pytest.raises(OSError, match="no space"):
            staged.complete()
        assert not staged.is_written
    assert not store.is_complete(store.path, 0, 0)
