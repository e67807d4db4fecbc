"""The one way in which `ewallet up` says no."""


class StartRefusedError(Exception):
    """The wallet must not run, for a reason that a restart does not cure.

    The message is for the person at the terminal: what is wrong, and what to do about it.
    """
