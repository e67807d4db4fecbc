"""What is read from the announcement of `ewallet up`."""

import pytest

from bench.settings import BenchError
from bench.wallet import monitor_url

ANNOUNCEMENT = """\
API          http://127.0.0.1:8080  (documentation at http://127.0.0.1:8080/docs)
NATS         127.0.0.1:4222, monitoring http://127.0.0.1:8222
ready: http://127.0.0.1:8080  (docs at /docs)
"""


def test_the_monitoring_address_is_found() -> None:
    assert monitor_url(ANNOUNCEMENT) == "http://127.0.0.1:8222"


def test_its_absence_is_an_error_that_shows_what_was_said() -> None:
    with pytest.raises(BenchError, match="ready"):
        monitor_url("ready: http://127.0.0.1:8080")
