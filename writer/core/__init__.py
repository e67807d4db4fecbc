"""Pure rules of the write side: commands in, event frames out."""
