"""What is read from wrk's output."""

import pytest

from bench.load import parse_wrk
from bench.settings import BenchError

OUTPUT = """\
Running 8s test @ http://127.0.0.1:8080
  1 threads and 64 connections
  11002 requests in 2.00s, 3.10MB read
RESULT requests=11002 duration_us=2000000 p50_us=5100 p99_us=9300 not_201={} \
connect=0 read={} write=0 timeout={}
"""


def test_the_result_line_gives_speed_and_latencies() -> None:
    result = parse_wrk(OUTPUT.format(0, 0, 0), 44_008)
    assert result.requests == 11_002
    assert result.per_second == 5_501
    assert (result.p50_us, result.p99_us) == (5_100, 9_300)
    assert (result.faults, result.first_refusal) == (0, "")
    assert result.wrk_cpu_us == 44_008


@pytest.mark.parametrize("counts", [(3, 0, 0), (0, 3, 0), (0, 0, 3), (1, 1, 1)])
def test_every_kind_of_failure_counts(counts: tuple[int, int, int]) -> None:
    assert parse_wrk(OUTPUT.format(*counts), 0).faults == 3


def test_the_first_refusal_is_kept() -> None:
    output = OUTPUT.format(1, 0, 0) + 'REFUSAL 422 {"code":"insufficient_funds"}\n'
    assert parse_wrk(output, 0).first_refusal == '422 {"code":"insufficient_funds"}'


def test_output_without_a_result_is_an_error_that_shows_it() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused", 0)
