"""Pure rules of the read side: event frames in, rows and results out."""
