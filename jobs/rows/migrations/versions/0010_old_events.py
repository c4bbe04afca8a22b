"""An index of events by kind and time, by which old ones are deleted."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the index."""
    op.create_index("event_by_kind", "event", ["kind", "created"], unique=False)
