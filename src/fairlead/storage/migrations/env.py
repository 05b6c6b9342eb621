"""Where Alembic finds the database: `storage/migrate.py` hands its connection over."""

from alembic import context

from fairlead.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
