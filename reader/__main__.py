"""`python -m reader` runs a reader; `python -m reader rebuild` makes its read store anew."""

import sys

import runtime.without_websocket  # noqa: F401  # before what imports nats-py
from reader.bootstrap import rebuild, serve
from runtime.process import EXIT_UNFIT, run_service

if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run_service("reader", serve)
        case ["rebuild"]:
            run_service("reader", rebuild)
        case other:
            sys.stderr.write(f"The reader knows no {' '.join(other)!r}, only `rebuild`.\n")
            sys.exit(EXIT_UNFIT)
