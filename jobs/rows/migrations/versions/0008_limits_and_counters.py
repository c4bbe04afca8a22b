"""Limits of keys, and counters that triggers keep, so that the cost of the queue does not depend on its length."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_BUCKETS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0)
_DURATIONS = {
    "wait": ("created", "started"),
    "run": ("started", "finished"),
    "first_lead_time": ("created", "first_lead_time"),
}
_DAY = {"sqlite": "CAST({0} / 86400 AS INTEGER)", "postgresql": "CAST(floor({0} / 86400) AS INTEGER)"}


def upgrade() -> None:
    """Add limits to keys, and to forecasts the values that counters need; add counters, their triggers and indexes."""
    dialect = op.get_bind().dialect.name
    _add_limits()
    _add_values()
    _add_counters()
    _change_indexes()
    for statement in (*_counts(), *_triggers(dialect)):
        op.get_bind().exec_driver_sql(statement)


def _add_limits() -> None:
    for name in ("open_forecasts", "uploads"):
        op.add_column("api_key", sa.Column(name, sa.Integer(), nullable=True))
    for name in ("forecast_evaluations", "day_evaluations", "kept_bytes"):
        op.add_column("api_key", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("api_key", sa.Column("high_priority", sa.Boolean(), nullable=True))


def _add_values() -> None:
    """Add the columns of forecasts and fill them from the requests."""
    for name, kind in (("model", sa.String(255)), ("checkpoint_digest", sa.String(64))):
        op.add_column("forecast", sa.Column(name, kind, nullable=False, server_default=""))
    for name in ("group_size", "num_groups", "nfe"):
        op.add_column("forecast", sa.Column(name, sa.Integer(), nullable=False, server_default="1"))
    for name in ("evaluations", "number"):
        op.add_column("forecast", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    columns = ("model", "checkpoint_digest", "num_lead_times", "group_size", "num_groups", "nfe", "evaluations")
    forecast = sa.table("forecast", *map(sa.column, columns), sa.column("request", sa.JSON()))
    request = forecast.c.request
    members, size = request["members"].as_integer(), request["group_size"].as_integer()
    nfe = request[("sampling", "nfe")].as_integer()
    op.execute(
        sa.update(forecast).values(
            model=request["checkpoint"].as_string(),
            checkpoint_digest=request["checkpoint_digest"].as_string(),
            group_size=size,
            num_groups=(members + size - 1) // size,
            nfe=nfe,
            evaluations=members * sa.cast(forecast.c.num_lead_times, sa.BigInteger()) * (nfe + 1),
        )
    )
    op.execute(
        "UPDATE forecast SET number = ranked.number FROM (SELECT id, row_number() OVER"
        " (PARTITION BY owner ORDER BY created, id) AS number FROM forecast) AS ranked WHERE ranked.id = forecast.id"
    )


def _add_counters() -> None:
    op.create_table(
        "usage",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("last_started", sa.Float(), nullable=False),
        sa.Column("kept_bytes", sa.BigInteger(), nullable=False),
        sa.Column("store_bytes", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("day_evaluations", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner"),
    )
    op.create_table(
        "waiting_work",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("checkpoint_digest", sa.String(64), nullable=False),
        sa.Column("group_size", sa.Integer(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("flow_steps", sa.BigInteger(), nullable=False),
        sa.Column("expected_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "checkpoint_digest", "group_size"),
    )
    op.create_table(
        "ended",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("bucket", sa.String(16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "model", "name", "bucket"),
    )


def _change_indexes() -> None:
    op.drop_index("work_to_do", "work")
    op.drop_index("forecast_by_owner", "forecast")
    for name, columns in (
        ("forecast_by_owner", ["owner", "created", "id"]),
        ("forecast_by_owner_and_status", ["owner", "status", "created", "id"]),
        ("forecast_in_queue", ["owner", "status", "priority", "created", "id"]),
        ("forecast_by_deadline", ["status", "deadline"]),
        ("forecast_by_end", ["status", "finished"]),
        ("forecast_by_data", ["data", "finished"]),
    ):
        op.create_index(name, "forecast", columns, unique=False)


def _is(row: str, status: str) -> str:
    return f"CASE WHEN {row}.status = '{status}' THEN 1 ELSE 0 END"


def _kept(row: str) -> str:
    """Return the expression of the bytes that count as kept."""
    planned = f"COALESCE({row}.expected_bytes, 0)"
    return (
        f"CASE WHEN {row}.data <> 'available' THEN 0 WHEN {row}.store_bytes IS NOT NULL THEN {row}.store_bytes"
        f" WHEN {row}.status IN ('accepted', 'running') THEN {planned}"
        f" ELSE {planned} * {row}.lead_times / {row}.num_lead_times END"
    )


def _stored(row: str) -> str:
    return f"CASE WHEN {row}.data = 'available' THEN COALESCE({row}.store_bytes, 0) ELSE 0 END"


def _bucket(begin: str, end: str) -> str:
    cases = " ".join(f"WHEN {end} - {begin} <= {bound} THEN '{bound}'" for bound in _BUCKETS)
    return f"CASE {cases} ELSE '+Inf' END"


def _counts() -> list[str]:
    """Return the statements that count the forecasts of an earlier version; evaluations of the day are not counted."""
    durations = [
        f"INSERT INTO ended SELECT owner, model, '{name}', {_bucket(begin, end)}, count(*), sum({end} - {begin})"
        f" FROM forecast WHERE {begin} IS NOT NULL AND {end} IS NOT NULL GROUP BY 1, 2, 3, 4"
        for name, (begin, end) in _DURATIONS.items()
    ]
    return [
        (
            f"INSERT INTO usage SELECT owner, count(*), sum({_is('forecast', 'accepted')}),"
            f" sum({_is('forecast', 'running')}), COALESCE(max(started), 0), sum({_kept('forecast')}),"
            f" sum({_stored('forecast')}), 0, 0 FROM forecast GROUP BY owner"
        ),
        (
            "INSERT INTO waiting_work SELECT owner, checkpoint_digest, group_size, sum(num_groups * num_lead_times),"
            " sum(num_groups * num_lead_times * nfe), sum(COALESCE(expected_bytes, 0))"
            " FROM forecast WHERE status = 'accepted' GROUP BY owner, checkpoint_digest, group_size"
        ),
        (
            "INSERT INTO ended SELECT owner, model, 'status', status, count(*), 0 FROM forecast"
            " WHERE status NOT IN ('accepted', 'running') GROUP BY owner, model, status"
        ),
        *durations,
    ]


def _triggers(dialect: str) -> list[str]:
    day = _DAY[dialect].format
    ends = "OLD.status IN ('accepted', 'running') AND NEW.status NOT IN ('accepted', 'running')"
    changed = (
        "OLD.status <> NEW.status OR OLD.data <> NEW.data OR COALESCE(OLD.store_bytes, -1) <> "
        "COALESCE(NEW.store_bytes, -1) OR COALESCE(OLD.started, -1) <> COALESCE(NEW.started, -1)"
    )
    computed = (
        "(SELECT COALESCE(sum(committed + CASE WHEN worker IS NOT NULL AND NOT done THEN 1 ELSE 0 END), 0)"
        " FROM work WHERE forecast_id = NEW.id AND kind = 'group')"
    )
    update = "UPDATE OF status, data, store_bytes, started, first_lead_time, finished"
    parts = [
        ("forecast_1_inserted", "INSERT", "", [_count_new(day("NEW.created")), _count_waiting()]),
        ("forecast_1_changed", update, changed, [_count_change()]),
        ("forecast_1_deleted", "DELETE", "", [_count_deleted()]),
        ("forecast_2_starts", update, "OLD.status = 'accepted' AND NEW.status <> 'accepted'", [_count_no_longer()]),
        ("forecast_2_deleted", "DELETE", "OLD.status = 'accepted'", [_count_no_longer()]),
        (
            "forecast_3_ends_early",
            update,
            f"{ends} AND NEW.status <> 'successful'",
            [
                (
                    "UPDATE usage SET day_evaluations = day_evaluations - (NEW.evaluations - NEW.evaluations *"
                    f" {computed} / (NEW.num_groups * NEW.num_lead_times))"
                    f" WHERE owner = NEW.owner AND day = {day('NEW.created')}"
                )
            ],
        ),
        ("forecast_4_ends", update, ends, [_count_ended("status", "NEW.status", "0")]),
    ]
    for name, (begin, end) in _DURATIONS.items():
        condition = f"OLD.{end} IS NULL AND NEW.{end} IS NOT NULL AND NEW.{begin} IS NOT NULL"
        bucket = _bucket(f"NEW.{begin}", f"NEW.{end}")
        counted = _count_ended(name, bucket, f"NEW.{end} - NEW.{begin}")
        parts.append((f"forecast_5_{name}", update, condition, [counted]))
    return [statement for part in parts for statement in _trigger(dialect, *part)]


def _count_new(day: str) -> str:
    return (
        "INSERT INTO usage (owner, accepted, waiting, running, last_started, kept_bytes, store_bytes, day,"
        f" day_evaluations) VALUES (NEW.owner, 1, {_is('NEW', 'accepted')}, {_is('NEW', 'running')},"
        f" COALESCE(NEW.started, 0), {_kept('NEW')}, {_stored('NEW')}, {day}, NEW.evaluations)"
        " ON CONFLICT (owner) DO UPDATE SET accepted = usage.accepted + 1,"
        " waiting = usage.waiting + excluded.waiting, running = usage.running + excluded.running,"
        " kept_bytes = usage.kept_bytes + excluded.kept_bytes, store_bytes = usage.store_bytes + excluded.store_bytes,"
        " day_evaluations = excluded.day_evaluations + CASE WHEN usage.day < excluded.day THEN 0"
        " ELSE usage.day_evaluations END,"
        " day = CASE WHEN usage.day < excluded.day THEN excluded.day ELSE usage.day END"
    )


def _count_waiting() -> str:
    return (
        "INSERT INTO waiting_work (owner, checkpoint_digest, group_size, steps, flow_steps, expected_bytes)"
        " SELECT NEW.owner, NEW.checkpoint_digest, NEW.group_size, NEW.num_groups * NEW.num_lead_times,"
        " NEW.num_groups * NEW.num_lead_times * NEW.nfe, COALESCE(NEW.expected_bytes, 0) WHERE NEW.status = 'accepted'"
        " ON CONFLICT (owner, checkpoint_digest, group_size) DO UPDATE SET steps = waiting_work.steps + excluded.steps,"
        " flow_steps = waiting_work.flow_steps + excluded.flow_steps,"
        " expected_bytes = waiting_work.expected_bytes + excluded.expected_bytes"
    )


def _count_no_longer() -> str:
    return (
        "UPDATE waiting_work SET steps = steps - OLD.num_groups * OLD.num_lead_times,"
        " flow_steps = flow_steps - OLD.num_groups * OLD.num_lead_times * OLD.nfe,"
        " expected_bytes = expected_bytes - COALESCE(OLD.expected_bytes, 0)"
        " WHERE owner = OLD.owner AND checkpoint_digest = OLD.checkpoint_digest AND group_size = OLD.group_size"
    )


def _count_change() -> str:
    return (
        f"UPDATE usage SET waiting = waiting + {_is('NEW', 'accepted')} - {_is('OLD', 'accepted')},"
        f" running = running + {_is('NEW', 'running')} - {_is('OLD', 'running')},"
        " last_started = CASE WHEN NEW.started > last_started THEN NEW.started ELSE last_started END,"
        f" kept_bytes = kept_bytes + {_kept('NEW')} - {_kept('OLD')},"
        f" store_bytes = store_bytes + {_stored('NEW')} - {_stored('OLD')} WHERE owner = NEW.owner"
    )


def _count_deleted() -> str:
    return (
        f"UPDATE usage SET waiting = waiting - {_is('OLD', 'accepted')}, running = running - {_is('OLD', 'running')},"
        f" kept_bytes = kept_bytes - {_kept('OLD')}, store_bytes = store_bytes - {_stored('OLD')}"
        " WHERE owner = OLD.owner"
    )


def _count_ended(name: str, bucket: str, seconds: str) -> str:
    return (
        "INSERT INTO ended (owner, model, name, bucket, number, seconds)"
        f" VALUES (NEW.owner, NEW.model, '{name}', {bucket}, 1, {seconds})"
        " ON CONFLICT (owner, model, name, bucket) DO UPDATE SET number = ended.number + 1,"
        " seconds = ended.seconds + excluded.seconds"
    )


def _trigger(dialect: str, name: str, event: str, condition: str, statements: list[str]) -> list[str]:
    """Return the statements that create a trigger on each changed row of `forecast`."""
    when = f" WHEN ({condition})" if condition else ""
    body = "; ".join(statements) + ";"
    if dialect == "sqlite":
        return [f"CREATE TRIGGER {name} AFTER {event} ON forecast FOR EACH ROW{when} BEGIN {body} END"]
    return [
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$",
        f"CREATE TRIGGER {name} AFTER {event} ON forecast FOR EACH ROW{when} EXECUTE FUNCTION {name}()",
    ]
