"""The reader's loops: follow and push, store behind it, answer queries."""
