"""`python -m writer`: one writer process."""

from runtime.process import run_service
from writer.bootstrap import serve

if __name__ == "__main__":
    run_service("writer", serve)
