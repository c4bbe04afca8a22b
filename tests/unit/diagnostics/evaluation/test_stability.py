import json

import numpy as np
import pytest

from diagnostics.evaluation.stability import (
    BAND_EDGES,
    band_moments,
    combine_stability,
    compare_bands,
    summarise_growth,
)
from weather.grids import Grid

REGULAR = Grid.from_coordinates(np.linspace(-90, 90, 37), np.arange(16) * 22.5)
VARIABLES = ("u10", "v10")
SCALES = ((0.9, 1.1), (1.0, 1.0))


def test_moments_are_area_means_and_variances_of_six_bands() -> None:
    latitude = np.asarray(REGULAR.latitude)[:, None]
    fields = np.stack([np.sign(latitude) * np.ones(REGULAR.shape), 3 + (latitude > 30) * np.ones(REGULAR.shape)])
    moments = band_moments(np.stack([fields, fields]).astype(np.float32), REGULAR)
    row = compare_bands(
        moments, [moments * np.array([1, *scale])[:, None, None] for scale in ((0.9, 1.1), (1, 1))], VARIABLES
    )
    assert [item["south"] for item in row["u10"]] == list(BAND_EDGES[:-1])
    np.testing.assert_allclose([item["mean"] for item in row["u10"]][::5], [-1, 1])
    np.testing.assert_allclose([item["mean"] for item in row["v10"]], [3, 3, 3, 3, 3.9, 4], atol=0.01)
    np.testing.assert_allclose([item["variance"] for item in row["v10"]][::5], [0, 0], atol=1e-9)
    assert moments[0].sum() == pytest.approx(2 * 2 * np.sum(REGULAR.area_weights))


def test_distances_are_in_standard_deviations_between_years() -> None:
    rng = np.random.default_rng(0)
    years = [band_moments((level + rng.normal(size=(40, 2, *REGULAR.shape))).astype(np.float32), REGULAR)
             for level in (0.0, 0.5, 1.0)]  # fmt: skip  # the levels belong to the line above
    rollouts = band_moments((2.0 + rng.normal(size=(80, 2, *REGULAR.shape))).astype(np.float32), REGULAR)
    rows = compare_bands(rollouts, years, VARIABLES)["v10"]
    for row in rows:
        assert row["mean_distance"] == pytest.approx((2.0 - 0.5) / 0.5, rel=0.1)
        assert row["variance"] == pytest.approx(1, abs=0.1)
        assert row["mean_std"] == pytest.approx(0.5, rel=0.1)


def test_growth_is_the_median_over_starts_and_unknown_amplitudes_are_the_largest() -> None:
    steps = np.arange(161)
    amplitudes = np.stack([0.1 * factor**steps for factor in (0.99, 1.001, 1.02)])
    seasons = np.stack([0.2 * factor**steps for factor in (1.002, 0.997, 1.0004)])
    result = summarise_growth(amplitudes, seasons, 80)
    np.testing.assert_allclose(result["rates"], [0.99, 1.001, 1.02])
    assert result["rate"] == pytest.approx(1.001)
    assert result["season_rate"] == pytest.approx(1.0004)
    assert (result["first_step"], len(result["amplitudes"]), len(result["season_amplitudes"])) == (80, 161, 161)
    amplitudes[1, 100:] = np.nan
    broken = summarise_growth(amplitudes, seasons, 80)
    assert broken["rates"][1] is None
    assert broken["rate"] == pytest.approx(1.02)
    amplitudes[2, 100:] = np.inf
    assert summarise_growth(amplitudes, seasons, 80)["rate"] is None
    json.dumps(summarise_growth(amplitudes, seasons, 80), allow_nan=False)
    still = summarise_growth(amplitudes, 0 * seasons, 80)
    assert still["season_rate"] is None
    json.dumps(still, allow_nan=False)


def test_lost_starts_are_named_and_their_climate_is_not_compared() -> None:
    rng = np.random.default_rng(1)
    moments = [band_moments(rng.normal(size=(9, 2, *REGULAR.shape)).astype(np.float32), REGULAR) for _ in range(3)]
    record = {"start": "a", "lost_hours": None, "moments": moments[0].tolist(), "amplitudes": [1.0, 0.9, 0.8]}
    record |= {"truth_moments": None, "season_amplitudes": [0.4, 0.5, 0.6]}
    whole = combine_stability([record, record | {"start": "b"}], moments[1:], VARIABLES, 1)
    assert whole["lost_hours"] == {}
    distances = [
        abs(row[f"{part}_distance"])
        for rows in whole["bands"].values()
        for row in rows
        for part in ("mean", "variance")
    ]
    assert whole["largest_distance"] == pytest.approx(max(distances))
    assert whole["far"] == sum(distance > 3 for distance in distances)
    assert "truth" not in whole
    known = combine_stability([record | {"truth_moments": record["moments"]}], moments[1:], VARIABLES, 1)
    assert known["truth"] == {key: whole[key] for key in ("largest_distance", "far")}
    assert "natural_distances" not in whole
    natural = combine_stability([record], moments, VARIABLES, 1)["natural_distances"]
    alone = compare_bands(moments[1], [moments[0], moments[2]], VARIABLES)
    assert natural[1] == pytest.approx(
        max(abs(row[f"{part}_distance"]) for rows in alone.values() for row in rows for part in ("mean", "variance"))
    )
    lost = combine_stability([record, record | {"start": "b", "lost_hours": 918}], moments[1:], VARIABLES, 1)
    assert lost["lost_hours"] == {"b": 918}
    assert "bands" not in lost
    assert "bands" not in combine_stability([record], moments[1:2], VARIABLES, 1)
