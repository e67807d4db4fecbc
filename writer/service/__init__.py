"""The loops of the writer: one for each party's queue and journal."""
