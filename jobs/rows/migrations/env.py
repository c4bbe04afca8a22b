"""Entry point of Alembic: run the migrations in the transaction that `Database.migrate` has opened."""

from alembic import context

from jobs.rows.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
