"""The command line's own refusals, before anybody is asked."""

import re
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar, Final

import click
import pytest
from click.testing import CliRunner

from ewallet.cli import COMMANDS, main
from ewallet.command_roles import role_environment, writer
from ewallet.permissions import Role
from writer.config import read_writer_settings

DOCS: Final = Path(__file__).parents[2] / "docs"
_SETTING: Final = re.compile(r"`(EWALLET_[A-Z_]+)`")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("balance a.b", "is not an id"),
        ("balance .. --json", "is not an id"),
        ("transfer a b", "Missing argument"),
        ("transfer a b 1.00 USD --transaction-id x*y", "is not an id"),
        ("transfer a b 1.00 USD --coordination saga", "'saga' is not one of"),
        ("transfers show a", "Missing argument"),
        ("transfers show a x/y", "is not an id"),
        ("transfers unfinished --limit 0", "0 is not in the range"),
        ("partitions --seconds 0", "0.0 is not in the range"),
        ("up --coordination none", "'none' is not one of"),
        ("proxy --coordination 3pc", "'3pc' is not one of"),
        ("writer --writes journals", "'journals' is not one of 'all', 'partitions'"),
        ("accounts open --currency USD", "either an account ID or --count"),
        ("accounts open a --count 3 --currency USD", "either an account ID or --count"),
        ("accounts open a", "--currency"),
        ("accounts watch", "Missing argument"),
        ("accounts watch a b.c", "is not an id"),
        ("balance a --at 2026-01-01T00:00:00Z --sequence 1", "not both"),
        ("up --partitions 0", "0 is not in the range"),
        ("up --proxies 0", "0 is not in the range"),
        ("up --http-port 70000", "70000 is not in the range"),
        ("nonsense", "No such command"),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(line: str, sentence: str) -> None:
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 2
    assert sentence in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.output


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert all(command in result.output for command in COMMANDS)


def test_settings_are_variables_of_the_same_name() -> None:
    result = CliRunner().invoke(main, ["up"], env={"EWALLET_PARTITIONS": "none"})
    assert result.exit_code == 2
    assert "--partitions" in result.output


@pytest.mark.parametrize("line", ["transfer a b 1.00 USD", "up", "proxy"])
def test_wrong_coordination_in_the_variable_is_said_with_its_name(line: str) -> None:
    result = CliRunner().invoke(main, line.split(), env={"EWALLET_COORDINATION": "none"})
    assert result.exit_code == 2
    assert "EWALLET_COORDINATION" in result.output
    assert "'none' is not one of 'choreography', 'orchestration', 'tcc', '2pc'" in result.output


class _Refusing(BaseHTTPRequestHandler):
    """Notes the choice of a transfer, and refuses it."""

    choices: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.choices.append(self.headers["Wallet-Coordination"])
        self.send_response(422)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""


def test_transfer_takes_its_coordination_from_the_option_then_the_variable() -> None:
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            line = ["transfer", "a", "b", "1.00", "USD", "--url"]
            line += [f"http://127.0.0.1:{server.server_port}"]
            for options, variable in (
                ([], ""),
                ([], "tcc"),
                ([], "2PC"),
                (["--coordination", "Orchestration"], "tcc"),
            ):
                env = {"EWALLET_COORDINATION": variable}
                result = CliRunner().invoke(main, line + options, env=env)
                assert result.exit_code == 1, result.output
        finally:
            server.shutdown()
            thread.join()
    assert _Refusing.choices == [None, "tcc", "2pc", "orchestration"]


def test_nobody_there_ends_a_question_with_code_1(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    result = CliRunner().invoke(main, ["balance", "a", "--url", url])
    assert result.exit_code == 1
    assert f"No wallet answers at {url}" in result.output


def test_nobody_there_leaves_a_transfer_unknown_with_code_75(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    line = ["transfer", "a", "b", "1.00", "USD", "--url", url, "--timeout", "0.2"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 75
    assert "transaction id " in result.output
    assert "The outcome is not known after 0.2 s" in result.output


def test_role_gets_its_options_as_variables() -> None:
    options = {"nats_url": "nats://h:1", "data_dir": "/d", "insecure": False, "partitions": None}
    assert role_environment(Role.READER, options) == {
        "EWALLET_NATS_URL": "nats://h:1",
        "EWALLET_DATA_DIR": "/d",
    }
    assert role_environment(Role.PROXY, options | {"insecure": True})["EWALLET_INSECURE"] == "1"
    chosen = role_environment(Role.PROXY, options | {"coordination": "tcc"})
    assert chosen["EWALLET_COORDINATION"] == "tcc"


def test_each_documented_setting_has_a_flag() -> None:
    """But for one that holds a password, and one that only containers need."""
    settings = (DOCS / "operation.md").read_text().split("## Settings")[1].split("##")[0]
    names = {name for row in settings.splitlines() for name in _SETTING.findall(row[:80])}
    found = set[str]()
    groups: list[click.Group] = [main]
    for group in groups:
        context = click.Context(group)
        for each in map(partial(group.get_command, context), group.list_commands(context)):
            assert each is not None
            found |= {str(option.envvar) for option in each.params if option.envvar}
            groups += [each] if isinstance(each, click.Group) else []
    assert names - found == {"EWALLET_READ_STORE", "EWALLET_READY_FILE"}


@pytest.mark.parametrize(
    ("arguments", "writes"),
    [
        ([], "all"),
        (["--writes", "coordinator"], "coordinator"),
        (["--writes=partitions"], "partitions"),
    ],
)
def test_writer_is_told_which_journals_it_writes(arguments: list[str], writes: str) -> None:
    options = writer.make_context("writer", ["--nats-url", "nats://h:1", *arguments]).params
    assert role_environment(Role.WRITER, options)["EWALLET_WRITES"] == writes
    named = writer.make_context("writer", ["--nats-url", "nats://h:1", f"--writes={writes}"]).params
    number = {"EWALLET_PARTITIONS": "2"}
    assert read_writer_settings(number | role_environment(Role.WRITER, named)).parties


def test_role_without_a_server_says_what_to_name(tmp_path: object) -> None:
    result = CliRunner().invoke(main, ["reader", "rebuild", "--data-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "--nats-url" in result.output
