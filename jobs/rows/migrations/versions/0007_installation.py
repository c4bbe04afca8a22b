"""The identity of the installation, which its data place has too."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table of the installation's identity; `jobs.installation` inserts its only row."""
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("identity", sa.String(length=32), nullable=False),
        sa.Column("is_bound", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
