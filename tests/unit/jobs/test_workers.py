from sqlalchemy import update

from jobs.clock import now
from jobs.database import Database
from jobs.measures import EVALUATIONS, GPU_MEMORY, STEP_SECONDS, Sample, Tally, histogram_of
from jobs.tables import workers
from jobs.workers import alive, count_alive, gauges, seen, totals


def test_what_workers_counted_is_summed_and_stays_when_they_are_forgotten(database: Database) -> None:
    for name, number in (("old", 3), ("new", 4)):
        tally = Tally()
        tally.count(EVALUATIONS, "demo", by=number)
        tally.set(GPU_MEMORY, value=10 * number)
        seen(database, name, "cpu", tally.samples())
        seen(database, name, "cpu", tally.samples())
    evaluations = Sample(EVALUATIONS.name, ("demo",))
    with database.read() as connection:
        assert totals(connection) == {evaluations: 7}
        assert gauges(connection, "new") == {Sample(GPU_MEMORY.name, ()): 40}
        assert [worker.id for worker in alive(connection)] == ["new", "old"]
    for name in ("old", "new"):
        with database.write() as connection:
            connection.execute(update(workers).where(workers.c.id == name).values(seen=now() - 100_000))
        seen(database, f"after {name}", "cpu", {})
        with database.read() as connection:
            assert totals(connection) == {evaluations: 7}
    assert count_alive(database) == 2


def test_a_histogram_counts_each_value_in_every_bucket_that_it_is_below(database: Database) -> None:
    tally = Tally()
    for value in (0.02, 0.02, 0.3, 100.0):
        tally.observe(STEP_SECONDS, "demo", "flow", value=value)
    seen(database, "one", "cpu", tally.samples())
    with database.read() as connection:
        buckets, summed = histogram_of(STEP_SECONDS, ("demo", "flow"), totals(connection))
    assert dict(buckets)["0.01"] == 0
    assert dict(buckets)["0.025"] == 2
    assert dict(buckets)["0.5"] == 3
    assert dict(buckets)["+Inf"] == 4
    assert abs(summed - 100.34) < 1e-9
