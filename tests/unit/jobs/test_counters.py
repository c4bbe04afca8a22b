import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.counters import (
    EVALUATIONS,
    GPU_MEMORY,
    METRICS,
    NONFINITE,
    STEP_BUCKETS,
    STEP_SECONDS,
    Sample,
    Tally,
    cumulative_histogram,
)

LABELS = ("planet", "flow")


def test_counts_add_up_by_labels() -> None:
    tally = Tally()
    tally.count(EVALUATIONS, "planet", by=30)
    tally.count(EVALUATIONS, "planet")
    tally.count(EVALUATIONS, "large", by=2)
    tally.count(NONFINITE, "planet")
    assert tally.samples() == {
        Sample(EVALUATIONS.name, ("planet",)): 31.0,
        Sample(EVALUATIONS.name, ("large",)): 2.0,
        Sample(NONFINITE.name, ("planet",)): 1.0,
    }


def test_a_gauge_has_its_last_value() -> None:
    tally = Tally()
    for value in (5.0, 7.0, 3.0):
        tally.set(GPU_MEMORY, value=value)
    assert tally.samples() == {Sample(GPU_MEMORY.name, ()): 3.0}


def test_samples_are_a_copy_that_later_counts_do_not_change() -> None:
    tally = Tally()
    tally.count(EVALUATIONS, "planet")
    before = tally.samples()
    tally.count(EVALUATIONS, "planet")
    assert before == {Sample(EVALUATIONS.name, ("planet",)): 1.0}


@pytest.mark.parametrize("bound", STEP_BUCKETS)
def test_a_value_on_the_bound_of_a_bucket_is_in_it(bound: float) -> None:
    """Prometheus defines buckets by `<=`."""
    tally = Tally()
    tally.observe(STEP_SECONDS, *LABELS, value=bound)
    buckets, summed = cumulative_histogram(STEP_SECONDS, LABELS, tally.samples())
    assert dict(buckets)[str(bound)] == 1
    assert [count for _, count in buckets].count(0) == STEP_BUCKETS.index(bound)
    assert summed == bound


@given(st.lists(st.floats(0, 200), max_size=40))
def test_a_histogram_counts_as_many_values_below_each_bound_as_a_direct_count(values: list[float]) -> None:
    tally = Tally()
    for value in values:
        tally.observe(STEP_SECONDS, *LABELS, value=value)
    buckets, summed = cumulative_histogram(STEP_SECONDS, LABELS, tally.samples())
    expected = [(str(bound), float(sum(value <= bound for value in values))) for bound in STEP_BUCKETS]
    assert buckets == [*expected, ("+Inf", float(len(values)))]
    assert summed == pytest.approx(sum(values))


def test_a_histogram_without_values_is_zero_in_every_bucket() -> None:
    buckets, summed = cumulative_histogram(STEP_SECONDS, LABELS, {})
    assert [bound for bound, _ in buckets] == [*map(str, STEP_BUCKETS), "+Inf"]
    assert {count for _, count in buckets} == {0.0}
    assert summed == 0.0


def test_histograms_of_other_labels_are_not_mixed() -> None:
    tally = Tally()
    tally.observe(STEP_SECONDS, "planet", "flow", value=0.02)
    tally.observe(STEP_SECONDS, "planet", "write", value=0.3)
    tally.observe(STEP_SECONDS, "large", "flow", value=5.0)
    buckets, summed = cumulative_histogram(STEP_SECONDS, LABELS, tally.samples())
    assert (dict(buckets)["+Inf"], summed) == (1.0, 0.02)


def test_concurrent_counts_are_not_lost() -> None:
    tally = Tally()

    def count() -> None:
        for _ in range(2000):
            tally.count(EVALUATIONS, "planet")
            tally.observe(STEP_SECONDS, *LABELS, value=0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    buckets, summed = cumulative_histogram(STEP_SECONDS, LABELS, tally.samples())
    assert tally.samples()[Sample(EVALUATIONS.name, ("planet",))] == 8000
    assert (dict(buckets)["+Inf"], summed) == (8000, 4000)


@pytest.mark.parametrize(
    "sample",
    [
        Sample("m", ()),
        Sample("m", ("a",), "0.5"),
        Sample("m", ("a", "b"), "+Inf"),
        Sample("m", ('quote " and comma, [bracket]', "ü"), "sum"),
    ],
)
def test_a_sample_is_parsed_from_its_key(sample: Sample) -> None:
    assert Sample.parse(sample.key) == sample


def test_different_samples_have_different_keys() -> None:
    samples = [Sample("m", ("a", "b")), Sample("m", ("a,b",)), Sample("m", ("a",), "b"), Sample("m,a", ("b",))]
    assert len({sample.key for sample in samples}) == 4


def test_the_longest_key_fits_its_column() -> None:
    longest = max(len(Sample(name, ("m" * 100, "warm_start"), "+Inf").key) for name in METRICS)
    assert longest <= 300


def test_known_labels_match_the_labels_of_their_metric() -> None:
    for metric in METRICS.values():
        for known in metric.known:
            assert len(known) == len(metric.labels) - 1, metric.name
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets))
