from sqlalchemy import update

from jobs.counters import EVALUATIONS, GPU_MEMORY, STEP_SECONDS, Sample, Tally, cumulative_histogram
from jobs.dispatching.live_workers import list_live_workers, read_gauges, sum_counters
from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.tables import workers
from tests.rows import count_live_workers, record_heartbeat


def test_counters_are_summed_over_workers_and_survive_forgotten_ones(database: Database) -> None:
    for name, number in (("old", 3), ("new", 4)):
        tally = Tally()
        tally.count(EVALUATIONS, "demo", by=number)
        tally.set(GPU_MEMORY, value=10 * number)
        record_heartbeat(database, name, "cpu", tally.samples())
        record_heartbeat(database, name, "cpu", tally.samples())
    evaluations = Sample(EVALUATIONS.name, ("demo",))
    with database.read() as connection:
        assert sum_counters(connection) == {evaluations: 7}
        assert read_gauges(connection, "new") == {Sample(GPU_MEMORY.name, ()): 40}
        assert [worker.id for worker in list_live_workers(connection)] == ["new", "old"]
    for name in ("old", "new"):
        with database.write() as connection:
            connection.execute(update(workers).where(workers.c.id == name).values(seen=now() - 100_000))
        record_heartbeat(database, f"after {name}", "cpu", {})
        with database.read() as connection:
            assert sum_counters(connection) == {evaluations: 7}
    assert count_live_workers(database) == 2


def test_a_histogram_counts_each_value_in_every_bucket_above_it(database: Database) -> None:
    tally = Tally()
    for value in (0.02, 0.02, 0.3, 100.0):
        tally.observe(STEP_SECONDS, "demo", "flow", value=value)
    record_heartbeat(database, "one", "cpu", tally.samples())
    with database.read() as connection:
        buckets, summed = cumulative_histogram(STEP_SECONDS, ("demo", "flow"), sum_counters(connection))
    assert dict(buckets)["0.01"] == 0
    assert dict(buckets)["0.025"] == 2
    assert dict(buckets)["0.5"] == 3
    assert dict(buckets)["+Inf"] == 4
    assert abs(summed - 100.34) < 1e-9
