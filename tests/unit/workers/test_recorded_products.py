"""Products of lead times that are recorded equal those that are not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diagnostics.ensemble_summary import compute_summary
from diagnostics.finite_members import Apply, apply_to_finite
from diagnostics.live import diagnose_lead_time, mean_spectra
from models.graphs import CudaGraphs
from tests.unit.models.test_graphs import Broken, StandIn
from weather.grids import Grid
from weather.stores.layout import Layout
from weather.stores.summary_layout import SummaryLayout
from weather.stores.summary_request import Summary
from workers.recorded_products import RecordedProducts, recorded_on

CPU = torch.device("cpu")
GRID = Grid(tuple(np.linspace(90, -90, 17)), tuple(np.arange(32) * 360 / 32))
NAMES = ("u10", "v10")


def _groups(seed: int, *, lost: bool = False) -> list[NDArray[np.float32]]:
    fields = np.random.default_rng(seed).normal(0, 5, (7, 2, *GRID.shape)).astype(np.float32)
    if lost:
        fields[5, 1, 3, 3] = np.nan
    return [fields[:4], fields[4:]]


def _layout(init_time: str = "2018-09-15") -> SummaryLayout:
    ensemble = Layout(np.datetime64(init_time, "s"), 1, np.timedelta64(6, "h"), tuple(range(7)), 4, NAMES, GRID)
    return SummaryLayout(ensemble, Summary())


def _check(apply: Apply, device: torch.device, seed: int, init_time: str = "2018-09-15", *, lost: bool = False) -> None:
    """Compare diagnostics and summary of tensors with those of arrays."""
    arrays = _groups(seed, lost=lost)
    tensors = [torch.from_numpy(group).to(device) for group in arrays]
    start = mean_spectra(arrays[0][:1], GRID)
    expected = diagnose_lead_time(arrays, start, range(7), NAMES, GRID)
    found = diagnose_lead_time(tensors, start, range(7), NAMES, GRID, apply)
    assert found["nonfinite_members"] == expected["nonfinite_members"] == ([5] if lost else [])
    for name in NAMES:
        for figure in ("spread", "power", "log_ratio"):
            assert found["variables"][name][figure] == pytest.approx(expected["variables"][name][figure], rel=1e-4)
    members, fields = compute_summary(arrays, _layout(init_time))
    found_members, found_fields = compute_summary(tensors, _layout(init_time), apply)
    assert found_members == members == 7 - lost
    for name, values in fields.items():
        np.testing.assert_allclose(found_fields[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_recorded_products_equal_those_of_arrays_for_forecasts_of_all_dates_and_with_lost_members() -> None:
    graphs = StandIn()
    apply = RecordedProducts(graphs)
    for seed in range(5):
        _check(apply, CPU, seed, f"2018-09-1{seed}", lost=seed == 3)
    assert (graphs.warmed_up, graphs.recorded, graphs.replayed) == (4, 2, 6)


def test_groups_in_host_memory_are_not_recorded() -> None:
    graphs = StandIn()
    mask, values = RecordedProducts(graphs)("sum", lambda groups: groups[0].sum(axis=0), _groups(1)[1:])
    assert mask.tolist() == [True] * 3
    np.testing.assert_array_equal(values, _groups(1)[1].sum(axis=0))
    assert graphs.warmed_up == 0
    assert recorded_on(CPU) is apply_to_finite


def test_products_that_cannot_be_recorded_or_find_no_memory_are_computed_one_operation_after_the_other() -> None:
    class Full(StandIn):
        def warm_up(self, function: Callable[[], None]) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    for graphs in (Broken(), Full()):
        apply = RecordedProducts(graphs)
        for seed in range(4):
            _check(apply, CPU, seed)


def test_functions_that_others_followed_are_forgotten_with_their_recordings() -> None:
    graphs = StandIn()
    apply, groups = RecordedProducts(graphs), [torch.ones(3, 2, *GRID.shape)]
    for _ in range(3):
        for factor in range(8):
            _, values = apply(factor, lambda members, factor=factor: factor * members[0].sum(dim=0), groups)
            np.testing.assert_array_equal(values, np.full((2, *GRID.shape), 3 * factor))
    assert graphs.recorded == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_products_recorded_on_cuda_equal_those_of_arrays() -> None:
    device, apply = torch.device("cuda"), RecordedProducts(CudaGraphs(torch.device("cuda"), is_urgent=True))
    for seed in range(5):
        _check(apply, device, seed, lost=seed == 3)
    assert all(function._recordings for function in apply._recorded.values()), "nothing was recorded"
