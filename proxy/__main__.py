"""`python -m proxy`: one proxy process."""

from proxy.bootstrap import serve
from runtime.process import run_service

if __name__ == "__main__":
    run_service("proxy", serve)
