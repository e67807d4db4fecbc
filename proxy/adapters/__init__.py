"""The outside world behind this service's ports."""
