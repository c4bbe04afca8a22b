"""An ensemble and its summary of random fields: three of four lead times are complete, and members are lost."""

from pathlib import Path

import numpy as np
import pytest

from diagnostics.ensemble_summary import compute_summary
from tests.exported import ATTRIBUTES, GRIDS, LOST, SUMMARY
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from weather.stores.summary import SummaryStore
from weather.stores.summary_layout import SummaryLayout


@pytest.fixture(params=GRIDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a forecast with both stores."""
    layout = Layout(
        init_time=np.datetime64("2018-09-15T12:30:00", "s"),
        num_lead_times=4,
        time_step=np.timedelta64(6, "h"),
        members=(0, 1, 2, 3, 7),
        group_size=2,
        variables=("u10", "v10", "t2m", "msl"),
        grid=GRIDS[request.param],
    )
    ensemble = EnsembleStore.create(tmp_path / "ensemble.zarr", layout, ATTRIBUTES)
    summary_layout = SummaryLayout(layout, SUMMARY)
    summary = SummaryStore.create(tmp_path / "summary.zarr", summary_layout, ATTRIBUTES)
    draw = np.random.default_rng(1)
    scales = np.array([5, 5, 10, 1000], np.float32)[:, None, None]
    for lead_index, lost in enumerate(LOST):
        shape = (len(layout.members), len(layout.variables), *layout.grid.shape)
        fields = draw.standard_normal(shape, np.float32) * scales + np.float32([0, 0, 280, 1e5])[:, None, None]
        fields[[layout.members.index(member) for member in lost]] = np.nan
        groups = [fields[2 * group : 2 * group + 2] for group in range(layout.num_groups)]
        for group, values in enumerate(groups):
            ensemble.commit(group, lead_index, values)
        summary.write(lead_index, *compute_summary(groups, summary_layout))
    return tmp_path
