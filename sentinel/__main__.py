"""`python -m sentinel`: one sentinel process."""

from runtime.process import run_service
from sentinel.bootstrap import serve

if __name__ == "__main__":
    run_service("sentinel", serve)
