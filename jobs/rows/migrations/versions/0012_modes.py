"""How the networks of a forecast are evaluated, and the seconds that their compilation takes."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the mode of forecasts, and the seconds of compilation to what is known of a checkpoint on a device."""
    op.add_column("forecast", sa.Column("mode", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "compilation",
        sa.Column("checkpoint_digest", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(100), primary_key=True),
        sa.Column("seconds", sa.Float(), nullable=False),
    )
