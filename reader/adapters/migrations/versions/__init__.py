"""Migrations, oldest first by `down_revision`. One that readers have run is never changed."""
