"""The PostgreSQL read store's tables, as Alembic brings them about, one file per version."""
