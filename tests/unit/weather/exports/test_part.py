"""Parts of a forecast: what is chosen, and what is refused."""

from pathlib import Path

import pytest

from storage.errors import ConfigurationError
from storage.paths import storage_path
from weather.errors import DamagedError, StoreError
from weather.exports import export
from weather.exports.export import ExportPlan
from weather.exports.part import Part, select
from weather.exports.stored import StoredFields
from weather.region import Region
from weather.times import Interval


@pytest.fixture
def ensemble(folder: Path) -> StoredFields:
    return StoredFields.open(storage_path(folder / "ensemble.zarr"))


@pytest.fixture
def summary(folder: Path) -> StoredFields:
    return StoredFields.open(storage_path(folder / "summary.zarr"))


def test_without_a_choice_everything_that_is_complete_is_chosen(ensemble: StoredFields) -> None:
    selection = select(ensemble, Part(), 4)
    assert selection.positions == dict.fromkeys(("msl", "t2m", "u10", "v10"), (0, 1, 2, 3, 4))
    assert selection.lead_indices == (0, 1, 2)
    assert select(ensemble, Part(), 2).lead_indices == (0, 1), "at most as many as were committed"


def test_members_are_named_by_their_numbers(ensemble: StoredFields) -> None:
    assert select(ensemble, Part(members="7, 0-2,1"), 4).positions["u10"] == (0, 1, 2, 4)
    for text in ("4", "0-4", "7-0", "a", "1,,2", "-1", "1-", "0-9999999"):
        with pytest.raises(ConfigurationError, match=r"`members` must be a list .* which has 5 from 0 to 7\. Got"):
            select(ensemble, Part(members=text), 4)


def test_statistics_are_named_by_themselves_or_by_their_variable(summary: StoredFields) -> None:
    assert sorted(select(summary, Part(("t2m",)), 4).positions) == [
        "t2m_below",
        "t2m_mean",
        "t2m_quantiles",
        "t2m_spread",
    ]
    both = select(summary, Part(("wind_direction_10m", "u10_quantiles")), 4).positions
    assert both == {"u10_quantiles": (0, 1), "wind_direction_10m": (0,)}
    with pytest.raises(ConfigurationError, match=r"`parameter-name` may have msl, t2m, .*u10_mean.* Got: 'q'"):
        select(summary, Part(("u10", "q")), 4)
    with pytest.raises(ConfigurationError, match="A summary has no `members`"):
        select(summary, Part(members="0"), 4)


def test_times_choose_complete_lead_times(ensemble: StoredFields) -> None:
    assert select(ensemble, Part(times=Interval.parse("2018-09-16T00:30Z/..")), 4).lead_indices == (1, 2)
    for text in ("2018-09-16T12:30Z", "../2018-09-15T12:30"):
        with pytest.raises(ConfigurationError, match=r"`datetime` .* 2018-09-15T18:30:00Z to 2018-09-16T06:30:00Z"):
            select(ensemble, Part(times=Interval.parse(text)), 4)
    with pytest.raises(StoreError, match="no complete lead time yet"):
        select(ensemble, Part(), 0)


def test_a_region_without_a_grid_point_is_refused(ensemble: StoredFields) -> None:
    with pytest.raises(ConfigurationError, match="`bbox` must contain at least one grid point"):
        select(ensemble, Part(region=Region.parse("0.1,0.1,0.2,0.2")), 4)


def test_a_lead_time_that_is_too_large_for_memory_is_refused(
    ensemble: StoredFields, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_MAX_LEAD_TIME_BYTES", 4 * 5 * 4 * 3)
    with pytest.raises(ConfigurationError, match="Choose fewer members or parameters, or a box"):
        ExportPlan.of(ensemble, Part(), "nc", 4)


def test_any_range_of_an_export_is_cut_from_its_blocks(ensemble: StoredFields) -> None:
    plan = ExportPlan.of(ensemble, Part(("u10",), "0-1"), "nc", 4)
    whole = b"".join(plan.encode(ensemble, block) for block in plan.blocks())
    assert len(whole) == plan.size_bytes
    header = len(plan.header)
    for start, stop in ((0, 1), (header - 1, header + 1), (header, header + 5), (plan.size_bytes - 1, plan.size_bytes)):
        blocks = list(plan.blocks(start, stop))
        content = b"".join(plan.encode(ensemble, block) for block in blocks)
        first = blocks[0].start
        assert content[start - first : stop - first] == whole[start:stop]
    assert not list(plan.blocks(5, 5))


@pytest.mark.parametrize("name", ["u10/c.0.1.0.0.0", "latitude/c.0"])
def test_a_damaged_chunk_is_named(folder: Path, name: str) -> None:
    path = folder / "ensemble.zarr" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError, match=r"is damaged: its checksum"):
        _export(folder)
    (folder / "ensemble.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(DamagedError):
        _export(folder)


def _export(folder: Path) -> bytes:
    stored = StoredFields.open(storage_path(folder / "ensemble.zarr"))
    plan = ExportPlan.of(stored, Part(), "nc", 4)
    return b"".join(plan.encode(stored, block) for block in plan.blocks())
