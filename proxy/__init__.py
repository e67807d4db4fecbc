"""The HTTP edge: holds requests open until a reader pushes their results."""
