from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diagnostics.evaluation.stability import band_moments, compare_bands
from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from models.shapes import Fields, Frames
from models.valid_range import ValidRange
from training.data.testing import MemoryFrames
from training.data.training_data import TrainingData
from training.evaluation.records_file import RecordsFile
from training.evaluation.stability import StabilityTest, StabilityTester
from weather.errors import TrainingDataError
from weather.manifest import Manifest

CPU = torch.device("cpu")
TEST = StabilityTest(years=(2002,), num_starts=3, days=4.0, seed=0)


@pytest.fixture(scope="module")
def loaded(untrained_checkpoint: Path) -> tuple[Forecaster, Manifest, TrainingData]:
    """An untrained checkpoint, and two years of training, one of evaluation, of white noise around 2 m s-1."""
    networks, manifest = load_checkpoint(untrained_checkpoint, CPU)
    provenance = manifest.provenance.model_copy(update={"train_years": (2000, 2001)})
    grid, names = manifest.model.grid.grid, manifest.model.variable_names
    times = np.arange(np.datetime64("2000-01-01T00"), np.datetime64("2002-03-01T00"), np.timedelta64(6, "h"))
    frames = 2 + np.random.default_rng(0).standard_normal((len(times), 2, *grid.shape), np.float32)
    data = TrainingData(MemoryFrames(grid, names, times.astype("datetime64[s]"), frames), np.timedelta64(6, "h"))
    forecaster = Forecaster(networks, manifest.sampling.replace(nfe=2), CPU)
    return forecaster, manifest.model_copy(update={"provenance": provenance}), data


def _run(tester: StabilityTester, path: Path) -> dict[str, Any]:
    file = RecordsFile(path, tester.settings())
    for _ in tester.run(file):
        pass
    return tester.combine(file.records)


def _truth(data: TrainingData, starts: list[str]) -> dict[str, float]:
    """Return distances from the years 2000 and 2001 of the truth of the second two days after each start."""
    years = data.valid_times.astype("datetime64[Y]").astype(int) + 1970
    of_years = [band_moments(data.frames(np.flatnonzero(years == year)), data.grid) for year in (2000, 2001)]
    hours = np.arange(54, 97, 6).astype("timedelta64[h]")
    truth = np.searchsorted(data.valid_times, (np.array(starts, "datetime64[s]")[:, None] + hours).reshape(-1))
    rows = compare_bands(band_moments(data.frames(truth), data.grid), of_years, data.variables).values()
    distances = np.abs([row[f"{part}_distance"] for bands in rows for row in bands for part in ("mean", "variance")])
    return {"largest_distance": distances.max(), "far": (distances > 3).sum()}


def test_a_persistent_model_keeps_the_climate_and_one_that_grows_is_lost(
    loaded: tuple[Forecaster, Manifest, TrainingData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecaster, manifest, data = loaded

    def persist(self: Forecaster, frames: Frames, valid_time: np.datetime64, noise: Fields) -> Fields:
        return frames[1]

    def decay(self: Forecaster, frames: Frames, valid_time: np.datetime64) -> tuple[Fields, Fields]:
        return 2 + 0.99 * (frames[0] - 2), torch.ones_like(frames[0])

    monkeypatch.setattr(Forecaster, "step", persist)
    monkeypatch.setattr(Forecaster, "warm_start", decay)
    result = _run(StabilityTester(forecaster, manifest, data, TEST), tmp_path / "a.jsonl")
    assert (result["lost_hours"], result["years"], result["days"]) == ({}, [2000, 2001], 4)
    assert [start[:7] for start in result["starts"]] == ["2002-01", "2002-01", "2002-02"]
    assert result["growth"]["rate"] == pytest.approx(0.99, abs=1e-3)
    assert result["growth"]["first_step"] == 5
    assert [len(result["growth"][name]) for name in ("amplitudes", "season_amplitudes")] == [12, 12]
    assert result["truth"] == pytest.approx(_truth(data, result["starts"]))
    for row in result["bands"]["v10"]:
        assert row["mean"] == pytest.approx(2, abs=0.1)
        assert row["variance"] == pytest.approx(1, abs=0.15)

    def explode(self: Forecaster, frames: Frames, valid_time: np.datetime64, noise: Fields) -> Fields:
        valid_range = ValidRange(self.spec.known_variables, self.device)
        return valid_range.mask_lost_members(frames[0] * 2)

    monkeypatch.setattr(Forecaster, "step", explode)
    lost = _run(StabilityTester(forecaster, manifest, data, TEST), tmp_path / "b.jsonl")
    assert sorted(lost["lost_hours"]) == lost["starts"]
    assert set(lost["lost_hours"].values()) <= {24, 30, 36, 42}
    assert "bands" not in lost


def test_an_interrupted_test_is_resumed_and_its_cost_is_of_what_remains(
    loaded: tuple[Forecaster, Manifest, TrainingData], tmp_path: Path
) -> None:
    tester = StabilityTester(*loaded, TEST)
    whole = _run(tester, tmp_path / "records.jsonl")
    lines = (tmp_path / "records.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_text("".join(lines[:-1]))
    file = RecordsFile(tmp_path / "records.jsonl", tester.settings())
    assert len(list(tester.run(file))) == 1
    assert tester.combine(file.records) == whole
    assert tester.estimate_cost(done=1).evaluations == 2 * 16 * (2 + 1 + 1)
    assert tester.estimate_cost(done=3).evaluations == 0


def test_too_many_starts_and_missing_training_years_are_refused(
    loaded: tuple[Forecaster, Manifest, TrainingData],
) -> None:
    forecaster, manifest, data = loaded
    with pytest.raises(TrainingDataError, match=r"`stability_starts` must be at most 23\d.* Got: 500"):
        StabilityTester(forecaster, manifest, data, StabilityTest((2002,), 500, 4.0, 0))
    provenance = manifest.provenance.model_copy(update={"train_years": (1990,)})
    with pytest.raises(TrainingDataError, match=r"training years 1990, whose mean is the climatology\. Got: none"):
        StabilityTester(forecaster, manifest.model_copy(update={"provenance": provenance}), data, TEST)
