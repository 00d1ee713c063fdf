"""Alembic's entry: runs the migrations on the connection that `store.upgrade` hands over."""

from alembic import context

from nlp_service.store import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
