import json
from typing import Any

import numpy as np
import pytest

from diagnostics.evaluation.comparison import References, combine_starts, score_lead_time
from diagnostics.evaluation.records import score_event, score_field, score_gaussian, score_references
from diagnostics.evaluation.resampling import aggregate_numbers, aggregate_records, resample_weights
from diagnostics.scores.crps import crps_fair
from weather.grids import Grid

GRID = Grid.from_coordinates(np.degrees(np.arcsin(np.polynomial.legendre.leggauss(24)[0])), np.arange(48) * 7.5)
MEMBERS = 12


def _records(count: int, *, factor: float = 1.0) -> list[dict[str, float | list[float]]]:
    rng = np.random.default_rng(0)
    return [
        score_field(factor * rng.normal(size=(MEMBERS, *GRID.shape)), rng.normal(size=GRID.shape), GRID, rng)
        for _ in range(count)
    ]


def test_a_reliable_ensemble_has_a_ratio_of_one_and_flat_ranks() -> None:
    summary = aggregate_records(_records(30), MEMBERS, resample_weights(30, 1, 0))
    assert summary["crps_fair"] == pytest.approx(1 / np.sqrt(np.pi), rel=0.02)
    assert summary["spread_skill"] == pytest.approx(1, abs=0.02)
    assert summary["spread"] == pytest.approx(1, abs=0.01)
    assert np.asarray(summary["ranks"]) == pytest.approx(np.full(MEMBERS + 1, 1 / (MEMBERS + 1)), rel=0.15)
    assert np.asarray(summary["eta"])[4:] == pytest.approx(1, rel=0.2)
    assert summary["eta"] == pytest.approx(np.divide(summary["spectrum"], summary["spectrum_truth"]))


def test_an_ensemble_of_too_small_deviations_has_too_little_spread_and_power() -> None:
    summary = aggregate_records(_records(10, factor=0.5), MEMBERS, resample_weights(10, 1, 0))
    assert summary["spread_skill"] < 0.6
    assert np.mean(np.asarray(summary["eta"])[4:]) == pytest.approx(0.25, rel=0.1)
    assert summary["spectrum_deviation"] == pytest.approx(float(np.abs(1 - np.asarray(summary["eta"])).sum()))


def test_scores_are_area_means() -> None:
    rng = np.random.default_rng(1)
    ensemble, truth = rng.normal(size=(MEMBERS, *GRID.shape)), rng.normal(size=GRID.shape)
    rows = np.asarray(GRID.area_weights)
    expected = (crps_fair(ensemble, truth).mean(axis=1) * rows).sum() / rows.sum()
    assert score_field(ensemble, truth, GRID, rng)["crps_fair"] == pytest.approx(expected)


def test_the_95_percent_interval_contains_the_mean_95_percent_of_the_time() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        records = [{"score": float(value)} for value in rng.normal(3, 1, 40)]
        weights = resample_weights(40, 1, int(rng.integers(1000)))
        low, high = aggregate_numbers(records, ["score"], weights)["intervals"]["score"]
        hits += low <= 3 <= high
    assert hits / 200 == pytest.approx(0.95, abs=0.05)


def test_every_scalar_has_an_interval_unless_there_is_one_start() -> None:
    records = _records(12)
    summary = aggregate_records(records, MEMBERS, resample_weights(12, 1, 0))
    lists = {"ranks", "eta", "spectrum", "spectrum_truth", "bands", "intervals"}
    assert set(summary["intervals"]) == set(summary) - lists
    for name, (low, high) in summary["intervals"].items():
        assert low <= summary[name] <= high or name == "spectrum_deviation"
    assert "intervals" not in aggregate_records(records[:1], MEMBERS, resample_weights(1, 1, 0))


def test_the_order_of_records_does_not_matter() -> None:
    records = _records(6)
    whole, turned = (
        aggregate_records(part, MEMBERS, resample_weights(6, 1, 0)) for part in (records, records[3:] + records[:3])
    )
    assert whole["spread_skill"] == pytest.approx(turned["spread_skill"], rel=1e-12)
    assert whole["eta"] == pytest.approx(turned["eta"], rel=1e-12)


def test_records_that_were_stored_as_json_aggregate_to_the_same_scores() -> None:
    rng = np.random.default_rng(6)
    fields = [rng.normal(size=(MEMBERS + 2, 2, *GRID.shape)).astype(np.float32) for _ in range(5)]

    def score(start: int, hours: int) -> dict[str, Any]:
        initial, truth, members = fields[start][0], fields[start][1], fields[start][2:]
        references, time = References(initial, members + 1), np.datetime64("2001-01-01T06")
        return score_lead_time(members, truth, references, ("u10", "v10"), (1.0, 1.0), GRID, time, (0, start, hours))

    starts = [{hours: score(start, hours) for hours in (6, 12)} for start in range(len(fields))]
    parts = [json.loads(json.dumps(part)) for part in (starts[:2], starts[2:3], starts[3:])]
    merged = [{int(hours): record for hours, record in start.items()} for part in parts for start in part]
    weights = resample_weights(5, 2, 0)
    assert combine_starts(merged, MEMBERS, weights) == combine_starts(starts, MEMBERS, weights)


def test_only_given_references_are_scored() -> None:
    rng = np.random.default_rng(5)
    truth, start, states = (rng.normal(size=(*shape, *GRID.shape)) for shape in ((), (), (50,)))
    assert score_references(truth, GRID, None, None) == {}
    assert set(score_references(truth, GRID, start, None)) == {"persistence_mae"}
    both = score_references(truth, GRID, start, states)
    assert both["persistence_mae"] == pytest.approx(2 / np.sqrt(np.pi), rel=0.05)
    assert both["climatology_crps"] == pytest.approx(1 / np.sqrt(np.pi), rel=0.05)
    records = [record | score_references(truth, GRID, start, states) for record in _records(8)]
    summary = aggregate_records(records, MEMBERS, resample_weights(8, 1, 0))
    assert summary["climatology_deviation"] < 10
    assert summary["crps_of_persistence"] == pytest.approx(summary["crps_fair"] / summary["persistence_mae"])
    assert summary["crps_of_climatology"] == pytest.approx(1, abs=0.05)


def test_the_natural_deviation_is_that_of_years_against_years_in_each_band() -> None:
    """Four times as many starts have half of the deviation, so that years differ less."""
    rng = np.random.default_rng(9)
    deviations = []
    for count in (4, 16):
        records = [
            record | score_references(rng.normal(size=GRID.shape), GRID, None, None, rng.normal(size=(5, *GRID.shape)))
            for record in _records(count)
        ]
        summary = aggregate_records(records, MEMBERS, resample_weights(count, 1, 0))
        spectra = np.mean([record["spectra_years"] for record in records], axis=0)
        pairs = [np.abs(1 - spectra[i] / spectra[j]) for i in range(5) for j in range(5) if i != j]
        assert summary["natural_deviation"] == pytest.approx(np.median(np.sum(pairs, axis=1)))
        assert summary["natural_range"] == pytest.approx([np.sum(pairs, axis=1).min(), np.sum(pairs, axis=1).max()])
        assert summary["bands"]["6-15"]["natural"] == pytest.approx(np.median([pair[6:16].sum() for pair in pairs]))
        eta = np.abs(1 - np.asarray(summary["eta"]))
        assert summary["bands"]["1-5"]["forecast"] == pytest.approx(eta[1:6].sum())
        deviations.append(summary["natural_deviation"])
    assert deviations[1] == pytest.approx(deviations[0] / 2, rel=0.3)


def test_a_reliable_gaussian_has_a_flat_pit_and_nominal_coverage() -> None:
    rng = np.random.default_rng(3)
    records = []
    for _ in range(20):
        mean, std = rng.normal(size=GRID.shape), rng.uniform(0.5, 2, GRID.shape)
        records.append(score_gaussian(mean, std, mean + std * rng.normal(size=GRID.shape), GRID))
    assert np.mean([record["pit"] for record in records], axis=0) == pytest.approx(np.full(20, 0.05), rel=0.1)
    assert np.mean([record["coverage_50"] for record in records]) == pytest.approx(0.5, abs=0.01)
    assert np.mean([record["coverage_90"] for record in records]) == pytest.approx(0.9, abs=0.01)
    tight = score_gaussian(np.zeros(GRID.shape), np.full(GRID.shape, 0.5), rng.normal(size=GRID.shape), GRID)
    assert tight["coverage_90"] < 0.7


def test_a_perfect_event_forecast_is_reliable_and_scores_its_uncertainty() -> None:
    rng = np.random.default_rng(4)
    records = [
        score_event(rng.uniform(size=(MEMBERS, *GRID.shape)), rng.uniform(size=GRID.shape), 0.7, GRID)
        for _ in range(40)
    ]
    assert np.mean([record["brier_fair"] for record in records]) == pytest.approx(0.21, abs=0.005)
    forecast = np.mean([record["forecast"] for record in records], axis=0)
    occurred = np.mean([record["occurred"] for record in records], axis=0)
    assert forecast.sum() == pytest.approx(1)
    assert occurred.sum() == pytest.approx(0.3, abs=0.01)
    assert occurred[2:7] / forecast[2:7] == pytest.approx(np.full(5, 0.3), abs=0.05)
