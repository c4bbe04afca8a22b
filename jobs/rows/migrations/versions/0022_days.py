"""Counters of each owner and day, which triggers keep."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_DAY = {"sqlite": "CAST({0} / 86400 AS INTEGER)", "postgresql": "CAST(floor({0} / 86400) AS INTEGER)"}
_SOURCE = {
    "sqlite": "json_extract({0}.request, '$.initial_state.source')",
    "postgresql": "{0}.request->'initial_state'->>'source'",
}
_COLUMNS = ("accepted", "uploads", "successful", "failed", "dismissed", "evaluations")
_COMPUTED = (
    "(SELECT COALESCE(sum(committed + CASE WHEN worker IS NOT NULL AND NOT done THEN 1 ELSE 0 END), 0)"
    " FROM work WHERE forecast_id = NEW.id AND kind = 'group')"
)


def upgrade() -> None:
    """Add the table, count the forecasts of an earlier version, and create the triggers."""
    dialect = op.get_bind().dialect.name
    op.create_table(
        "usage_day",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COLUMNS),
        sa.PrimaryKeyConstraint("owner", "day"),
    )
    for statement in (*_counts(dialect), *_triggers(dialect)):
        op.get_bind().exec_driver_sql(statement)


def _is(row: str, status: str) -> str:
    return f"CASE WHEN {row}.status = '{status}' THEN 1 ELSE 0 END"


def _is_upload(dialect: str, row: str) -> str:
    return f"CASE WHEN {_SOURCE[dialect].format(row)} = 'upload' THEN 1 ELSE 0 END"


def _add(values: str) -> str:
    """Return the statement that adds to the counters of a day."""
    sums = ", ".join(f"{name} = usage_day.{name} + excluded.{name}" for name in _COLUMNS)
    columns = ", ".join(("owner", "day", *_COLUMNS))
    return f"INSERT INTO usage_day ({columns}) {values} ON CONFLICT (owner, day) DO UPDATE SET {sums}"


def _counts(dialect: str) -> list[str]:
    """Return the statements that count the forecasts of an earlier version; SQLite needs WHERE before ON CONFLICT."""
    created, finished = (_DAY[dialect].format(f"forecast.{name}") for name in ("created", "finished"))
    ended = "forecast.status NOT IN ('accepted', 'running') AND forecast.finished IS NOT NULL"
    computed = (
        "CASE WHEN forecast.status = 'successful' THEN forecast.evaluations"
        " ELSE forecast.evaluations * forecast.lead_times / forecast.num_lead_times END"
    )
    statuses = ", ".join(f"sum({_is('forecast', status)})" for status in ("successful", "failed", "dismissed"))
    return [
        _add(
            f"SELECT owner, {created}, count(*), sum({_is_upload(dialect, 'forecast')}), 0, 0, 0, 0"
            " FROM forecast WHERE true GROUP BY 1, 2"
        ),
        _add(f"SELECT owner, {finished}, 0, 0, {statuses}, sum({computed}) FROM forecast WHERE {ended} GROUP BY 1, 2"),
    ]


def _triggers(dialect: str) -> list[str]:
    created, finished = (_DAY[dialect].format(time) for time in ("NEW.created", "COALESCE(NEW.finished, NEW.created)"))
    statuses = ", ".join(_is("NEW", status) for status in ("successful", "failed", "dismissed"))
    computed = (
        "CASE WHEN NEW.status = 'successful' THEN NEW.evaluations"
        f" ELSE NEW.evaluations * {_COMPUTED} / (NEW.num_groups * NEW.num_lead_times) END"
    )
    ends = "OLD.status IN ('accepted', 'running') AND NEW.status NOT IN ('accepted', 'running')"
    return [
        *_trigger(
            dialect,
            "forecast_6_day",
            "INSERT",
            "",
            _add(f"VALUES (NEW.owner, {created}, 1, {_is_upload(dialect, 'NEW')}, 0, 0, 0, 0)"),
        ),
        *_trigger(
            dialect,
            "forecast_6_day_ends",
            "UPDATE OF status",
            ends,
            _add(f"VALUES (NEW.owner, {finished}, 0, 0, {statuses}, {computed})"),
        ),
    ]


def _trigger(dialect: str, name: str, event: str, condition: str, statement: str) -> list[str]:
    """Return the statements that create a trigger on each changed row of `forecast`."""
    when = f" WHEN ({condition})" if condition else ""
    if dialect == "sqlite":
        return [f"CREATE TRIGGER {name} AFTER {event} ON forecast FOR EACH ROW{when} BEGIN {statement}; END"]
    return [
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$",
        f"CREATE TRIGGER {name} AFTER {event} ON forecast FOR EACH ROW{when} EXECUTE FUNCTION {name}()",
    ]
