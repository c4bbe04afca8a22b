from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from tests.helpers import random_state
from weather.errors import StoreError
from weather.ingest.exchange import load_initial_state
from weather.manifest import Sampling
from weather.stores.ensemble import EnsembleStore
from workers.standalone import StandaloneForecast, run_forecast


@pytest.fixture
def forecast(tiny_checkpoint: Path) -> StandaloneForecast:
    return StandaloneForecast(
        state=random_state(),
        checkpoint=tiny_checkpoint,
        members=tuple(range(6)),
        num_lead_times=4,
        group_size=4,
        seed=1,
        sampling=Sampling(solver="midpoint", nfe=2),
        device=torch.device("cpu"),
    )


def _run(forecast: StandaloneForecast, output: Path, *, resume: bool = False) -> xr.Dataset:
    run_forecast(forecast, output, resume=resume, report=lambda _: None)
    return xr.open_zarr(output / "ensemble.zarr").load()


def test_a_forecast_fills_the_store(forecast: StandaloneForecast, tmp_path: Path) -> None:
    reported: list[int] = []
    receipt = run_forecast(forecast, tmp_path, resume=False, report=reported.append)
    dataset = xr.open_zarr(tmp_path / "ensemble.zarr")
    assert bool(np.isfinite(dataset.u10).all())
    assert bool((dataset.complete == 1).all())
    assert reported == [0, 1, 2, 3]
    assert (receipt.lead_times_computed, receipt.lead_times_resumed) == (8, 0)
    assert receipt.network_evaluations == 6 * 4 * (2 + 1)
    assert receipt.nonfinite_members == ()
    assert (receipt.device, receipt.threads, receipt.torch) == ("cpu", torch.get_num_threads(), torch.__version__)


def test_the_initial_state_is_stored_next_to_the_ensemble(forecast: StandaloneForecast, tmp_path: Path) -> None:
    run_forecast(forecast, tmp_path, resume=False, report=lambda _: None)
    state = load_initial_state(tmp_path / "initial_state")
    assert (state.init_time, state.digest) == (forecast.state.init_time, forecast.state.digest)


def test_spread_grows_from_one_analysis(forecast: StandaloneForecast, tmp_path: Path) -> None:
    spread = _run(forecast, tmp_path).u10.std("number").mean(("latitude", "longitude")).values[0]
    assert 0 < spread[0] < spread[-1]


def test_the_store_records_its_inputs(forecast: StandaloneForecast, tmp_path: Path) -> None:
    attributes = _run(forecast, tmp_path).attrs
    assert attributes["Conventions"] == "CF-1.11"
    assert attributes["initial_state"] == "random numbers"
    recorded = [attributes[f"warmcast_{field}"] for field in ("seed", "nfe", "solver", "warmth", "checkpoint")]
    assert recorded == [1, 2, "midpoint", 1.0, "tiny"]
    assert attributes["warmcast_initial_state_digest"] == forecast.state.digest
    assert "Philox" in attributes["warmcast_rng"]


def test_the_store_can_be_written_to_netcdf_unchanged(forecast: StandaloneForecast, tmp_path: Path) -> None:
    dataset = _run(forecast, tmp_path)
    dataset.to_netcdf(tmp_path / "ensemble.nc")
    with xr.open_dataset(tmp_path / "ensemble.nc", decode_timedelta=True) as again:
        np.testing.assert_array_equal(again.u10, dataset.u10)
        assert again.lead_time.values.tolist() == dataset.lead_time.values.tolist()


def test_one_member_alone_equals_itself_among_all_bit_for_bit(forecast: StandaloneForecast, tmp_path: Path) -> None:
    together = _run(forecast, tmp_path / "all")
    alone = _run(replace(forecast, members=(5,)), tmp_path / "one")
    assert alone.number.values.tolist() == [5]
    for name in ("u10", "v10"):
        np.testing.assert_array_equal(alone[name].sel(number=5), together[name].sel(number=5))


def test_batch_sizes_agree_over_the_first_day(forecast: StandaloneForecast, tmp_path: Path) -> None:
    eight = _run(replace(forecast, group_size=8), tmp_path / "8")
    one = _run(replace(forecast, group_size=1), tmp_path / "1")
    for name in ("u10", "v10"):
        np.testing.assert_allclose(one[name], eight[name], rtol=0, atol=1e-4)


def test_members_take_an_ensemble_of_analyses_in_turn(forecast: StandaloneForecast, tmp_path: Path) -> None:
    state = random_state(analyses=2)
    dataset = _run(replace(forecast, state=state, num_lead_times=1), tmp_path / "pair")
    for analysis in range(2):
        single = replace(state, frames=tuple(frame[[analysis]] for frame in state.frames))
        expected = _run(replace(forecast, state=single, num_lead_times=1), tmp_path / str(analysis))
        for member in range(analysis, 6, 2):
            found = dataset.u10.sel(number=member)
            np.testing.assert_allclose(found, expected.u10.sel(number=member), rtol=0, atol=1e-4)


def test_an_interrupted_forecast_resumes_to_the_same_result(forecast: StandaloneForecast, tmp_path: Path) -> None:
    whole = _run(forecast, tmp_path / "whole")

    def stop(lead_index: int) -> None:
        if lead_index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_forecast(forecast, tmp_path / "cut", resume=False, report=stop)
    receipt = run_forecast(forecast, tmp_path / "cut", resume=True, report=lambda _: None)
    assert receipt.lead_times_resumed + receipt.lead_times_computed == 8
    assert receipt.lead_times_resumed >= 4, "those that were reported, and some that were written meanwhile"
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "cut/ensemble.zarr").load().drop_attrs(), whole.drop_attrs())
    summaries = [xr.open_zarr(tmp_path / name / "summary.zarr").load().drop_attrs() for name in ("cut", "whole")]
    assert (summaries[0].complete == 1).all()
    xr.testing.assert_identical(*summaries)


def test_resuming_writes_missing_lead_times_of_the_summary(forecast: StandaloneForecast, tmp_path: Path) -> None:
    run_forecast(replace(forecast, with_summary=False), tmp_path, resume=False, report=lambda _: None)
    assert not (tmp_path / "summary.zarr").exists()
    run_forecast(forecast, tmp_path, resume=True, report=lambda _: None)
    assert (xr.open_zarr(tmp_path / "summary.zarr").complete == 1).all()


def test_resuming_a_finished_forecast_computes_nothing(forecast: StandaloneForecast, tmp_path: Path) -> None:
    run_forecast(forecast, tmp_path, resume=False, report=lambda _: None)
    receipt = run_forecast(forecast, tmp_path, resume=True, report=lambda _: None)
    assert (receipt.lead_times_computed, receipt.lead_times_resumed) == (0, 8)


def test_resuming_without_a_store_starts_a_new_one(forecast: StandaloneForecast, tmp_path: Path) -> None:
    assert bool(np.isfinite(_run(forecast, tmp_path, resume=True).u10).all())


def test_an_existing_store_is_not_changed_without_resume(forecast: StandaloneForecast, tmp_path: Path) -> None:
    before = _run(forecast, tmp_path)
    with pytest.raises(StoreError, match="already exists"):
        _run(replace(forecast, seed=2), tmp_path)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "ensemble.zarr").load(), before)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 2}, "seed"),
        ({"sampling": Sampling(solver="midpoint", nfe=4)}, "nfe"),
        ({"members": (0, 1)}, "members"),
        ({"num_lead_times": 5}, "num_lead_times"),
        ({"group_size": 2}, "group_size"),
        ({"state": random_state(2)}, "initial_state_digest"),
    ],
)
def test_another_forecast_is_not_resumed(
    forecast: StandaloneForecast, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    run_forecast(forecast, tmp_path, resume=False, report=lambda _: None)
    with pytest.raises(StoreError, match=f"holds another forecast: it differs in (warmcast_)?{named}"):
        run_forecast(replace(forecast, **change), tmp_path, resume=True, report=lambda _: None)


def test_a_lost_member_is_stored_as_nan_and_reported(forecast: StandaloneForecast, tmp_path: Path) -> None:
    state = random_state(analyses=6)
    state.newest[3] = np.inf
    receipt = run_forecast(replace(forecast, state=state), tmp_path, resume=False, report=lambda _: None)
    assert receipt.nonfinite_members == (3,)
    store = EnsembleStore.open(tmp_path / "ensemble.zarr")
    fields = store.fields(0)
    assert (xr.open_zarr(tmp_path / "summary.zarr").members == 5).all()
    assert not np.isfinite(fields[3]).any()
    assert np.isfinite(np.delete(fields, 3, axis=0)).all()


def test_a_second_writer_is_refused_and_the_first_continues(forecast: StandaloneForecast, tmp_path: Path) -> None:
    def write_at_the_same_time(lead_index: int) -> None:
        with pytest.raises(StoreError, match="being written by another process"):
            run_forecast(forecast, tmp_path, resume=True, report=lambda _: None)

    assert run_forecast(forecast, tmp_path, resume=False, report=write_at_the_same_time).lead_times_computed == 8
    assert run_forecast(forecast, tmp_path, resume=True, report=lambda _: None).lead_times_resumed == 8
