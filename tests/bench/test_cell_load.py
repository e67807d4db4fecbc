"""What wrk is told to send, and what is read from its output."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from bench.accounts import account_ids
from bench.cell_load import load, parse_load
from bench.choice import Choice, choice_of
from bench.settings import BenchError

OUTPUT = """\
Running 4s test @ http://127.0.0.1:8080
RESULT sent=1064 completed=900 pending=7 refused=90 other=0 duration_us=2000000 p50_us=5100 \
p99_us=9300 max_us=20000 connect=0 read=0 write=0 timeout=3
REFUSED insufficient_funds=80
REFUSED coordination_timed_out=10
"""


def test_answers_are_counted_by_kind() -> None:
    load = parse_load(OUTPUT, 44_008)
    assert (load.sent, load.completed, load.seconds) == (1_064, 900, 2)
    assert load.refused == {"insufficient_funds": 80, "coordination_timed_out": 10}
    assert load.timed_out == 10, "answers 202 and requests that wrk gave up"
    assert (load.faults, load.first_fault) == (0, "")
    assert (load.p50_ms, load.p99_ms, load.max_ms) == (5.1, 9.3, 20)


@pytest.mark.parametrize("kind", ["other", "connect", "read", "write"])
def test_other_statuses_and_broken_connections_are_faults(kind: str) -> None:
    load = parse_load(OUTPUT.replace(f"{kind}=0", f"{kind}=3") + "FAULT 503 no room\n", 0)
    assert (load.faults, load.first_fault) == (3, "503 no room")


def test_output_without_a_result_is_an_error_that_shows_it() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        parse_load("unable to connect", 0)


STATUSES = (201, 201, 202, 422, 503)


class Listener(ThreadingHTTPServer):
    """Keeps what it is sent and answers with STATUSES in turn."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.headers: Counter[tuple[str | None, str | None]] = Counter()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        server = cast("Listener", self.server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = STATUSES[len(server.bodies) % len(STATUSES)]
        server.bodies.append(json.loads(body))
        server.headers[self.headers["Wallet-Coordination"], self.headers["Prefer"]] += 1
        answer = b'{"code":"insufficient_funds"}' if status == 422 else b"{}"
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@contextmanager
def listening() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.server
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk, which only the benchmark needs")
def test_wrk_sends_the_wanted_share_between_partitions_and_counts_every_answer(
    tmp_path: Path,
) -> None:
    choice = choice_of("hot", account_ids(200))
    choice.write(tmp_path / "accounts.txt")
    with listening() as server:
        seen = load(
            f"http://127.0.0.1:{server.server_port}",
            tmp_path / "accounts.txt",
            way="tcc",
            share_percent=30,
            run="r",
            seed=1,
            connections=1,
            seconds=1,
        )
    sent = len(server.bodies)
    assert sent > 200
    assert set(server.headers) == {("tcc", "wait=2")}
    assert len({body["transaction_id"] for body in server.bodies}) == sent
    check_answers(seen.completed, seen.timed_out, seen.refused, seen.faults)
    check_choice(choice, server.bodies)


def check_answers(completed: int, timed_out: int, refused: dict[str, int], faults: int) -> None:
    fifth = faults
    assert fifth > 0
    assert completed == pytest.approx(2 * fifth, abs=2)
    assert timed_out == pytest.approx(fifth, abs=1)
    assert refused == {"insufficient_funds": pytest.approx(fifth, abs=1)}


def check_choice(choice: Choice, bodies: list[dict[str, Any]]) -> None:
    """The share is a coin's: 6 standard deviations; the hottest account leads."""
    partition = dict(zip(choice.ids, choice.partitions, strict=True))
    pairs = [(body["from_account_id"], body["to_account_id"]) for body in bodies]
    crossing = sum(partition[payer] != partition[payee] for payer, payee in pairs)
    deviation = (0.3 * 0.7 / len(pairs)) ** 0.5
    assert crossing / len(pairs) == pytest.approx(0.3, abs=6 * deviation)
    assert all(payer != payee for payer, payee in pairs)
    payers = Counter(payer for payer, _ in pairs)
    assert payers.most_common(1)[0][0] == choice.ids[0]
