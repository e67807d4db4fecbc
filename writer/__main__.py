"""`python -m writer`: one writer process."""

import runtime.without_websocket  # noqa: F401  # before what imports nats-py
from runtime.process import run_service
from writer.bootstrap import serve

if __name__ == "__main__":
    run_service("writer", serve)
