"""`fastrpc broker`, `topics`, `publish`, `subscribe` and `dead`, each as a program."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc.brokers import open_broker
from tests.support.ports import free_address
from tests.support.program import Finished, Program, command_line, run_program

MAILER = """
import fastrpc


@fastrpc.service("mailer")
class Mailer:
    @fastrpc.subscriber("orders.new")
    async def confirm(self, order: int) -> None: ...


app = fastrpc.App(Mailer, broker="memory://shop")
"""
TOKENS = '[[token]]\nname = "shop"\ntoken = "token-of-shop-0123456789"\n'


@pytest.fixture
def address() -> str:
    return free_address()


@pytest.fixture
def url(address: str) -> str:
    return address.replace("tcp://", "broker://")


@pytest.fixture
def running(address: str, tmp_path: Path) -> Iterator[Program]:
    with command_line(["broker", "--address", address, "--data-dir", "kept"], tmp_path) as program:
        program.wait_output("broker at broker://")
        yield program


def command(folder: Path, *arguments: str) -> Finished:
    return run_program(["-m", "fastrpc", *arguments], folder)


@pytest.mark.usefixtures("running")
def test_message_is_published_listed_and_printed(url: str, tmp_path: Path) -> None:
    published = command(tmp_path, "publish", url, "orders.new", '{"id": 17}', "--id", "order-17")
    assert (published.code, published.output) == (0, "1  order-17\n")
    again = command(tmp_path, "publish", url, "orders.new", '{"id": 17}', "--id", "order-17", "--json")
    assert json.loads(again.output) == {"sequence": 1, "id": "order-17", "is_duplicate": True}
    one = command(
        tmp_path, "subscribe", url, "orders.new", "--group", "audit", "--from", "oldest", "--count", "1"
    )
    assert (one.code, one.output) == (0, '1  orders.new  {"id":17}\n')
    assert command(tmp_path, "publish", url, "orders.new", "a text", "--message-key", "k").code == 0
    words = ["subscribe", url, "orders.new", "--group", "audit", "--count", "1", "--json"]
    shown = json.loads(command(tmp_path, *words).output)
    assert (shown["value"], shown["key"], shown["sequence"], shown["delivery"]) == ("a text", "k", 2, 1)
    listed = command(tmp_path, "topics", url)
    assert listed.output.splitlines() == [
        "orders.new  a log of 604,800 s and 1,073,741,824 bytes at most",
        "  audit  0 behind, 0 under way, 0 dead, 0 members",
    ]
    found = json.loads(command(tmp_path, "topics", url, "--json").output)
    assert ([one["name"] for one in found["topics"]], found["groups"][0]["lag"]) == (["orders.new"], 0)


@pytest.mark.usefixtures("running")
def test_dead_letters_are_listed_shown_replayed_and_discarded(url: str, tmp_path: Path) -> None:
    async def kill() -> None:
        async with open_broker(url) as broker:
            async with broker.subscribe("orders.new", group="audit") as messages:
                for number in range(3):
                    await broker.publish("orders.new", {"n": number}, id=f"id-{number}")
                    await (await anext(messages)).reject("no such customer")

    asyncio.run(kill())
    listed = command(tmp_path, "dead", url, "list", "audit").output.splitlines()
    assert [line.partition("  ")[0] for line in listed] == ["id-0", "id-1", "id-2"]
    assert listed[0].endswith("delivery 1  no such customer")
    shown = json.loads(command(tmp_path, "dead", url, "show", "audit", "id-1", "--json").output)
    assert (shown["id"], shown["value"], shown["reason"]) == ("id-1", {"n": 1}, "no such customer")
    assert '{"n":1}' in command(tmp_path, "dead", url, "show", "audit", "id-1").output
    assert command(tmp_path, "dead", url, "replay", "audit", "id-0").output == "1 message delivered again\n"
    missing = command(tmp_path, "dead", url, "discard", "audit", "absent")
    assert (missing.code, missing.output) == (1, "0 messages forgotten\n")
    assert "not all of these are dead letters of audit: absent" in missing.errors
    assert command(tmp_path, "dead", url, "discard", "audit").code == 2
    assert json.loads(command(tmp_path, "dead", url, "discard", "audit", "--all", "--json").output) == {
        "group": "audit",
        "count": 2,
    }
    unknown = command(tmp_path, "dead", url, "list", "nobody")
    assert unknown.code == 1
    assert "there is no group nobody\nhint: `fastrpc topics` lists the groups" in unknown.errors


def test_broker_in_a_folder_continues_after_its_end(address: str, url: str, tmp_path: Path) -> None:
    for text in ("first", "second"):
        with command_line(
            ["broker", "--address", address, "--data-dir", "kept", "--json"], tmp_path
        ) as broker:
            assert json.loads(broker.wait_output("urls").string)["urls"] == [url]
            assert command(tmp_path, "publish", url, "orders.new", text).code == 0
            broker.signal(signal.SIGTERM)
            assert broker.wait().code == 0
    both = command(
        tmp_path,
        "subscribe",
        f"sqlite://{tmp_path}/kept",
        "orders.new",
        "--group",
        "g",
        "--from",
        "oldest",
        "--count",
        "2",
    )
    assert [line.split("  ")[2] for line in both.output.splitlines()] == ['"first"', '"second"']


def test_folder_of_a_stopped_broker_is_copied(address: str, url: str, tmp_path: Path) -> None:
    with command_line(["broker", "--address", address, "--data-dir", "kept"], tmp_path) as broker:
        broker.wait_output("broker at broker://")
        assert command(tmp_path, "publish", url, "orders.new", "first").code == 0
        held = command(tmp_path, "broker", "copy", "kept", "new")
        assert (held.code, held.output) == (1, "")
        broker.signal(signal.SIGTERM)
        assert broker.wait().code == 0
    copied = command(tmp_path, "broker", "copy", "kept", "new")
    assert (copied.code, copied.output) == (0, "new: 1 topic, 0 groups, 1 message, 0 dead letters\n")
    again = command(tmp_path, "broker", "copy", "kept", "new")
    assert (again.code, "name a folder that does not exist" in again.errors) == (1, True)
    words = ["orders.new", "--group", "g", "--from", "oldest", "--count", "1"]
    assert "first" in command(tmp_path, "subscribe", f"sqlite://{tmp_path}/new", *words).output


def test_broker_in_memory_warns(address: str, url: str, tmp_path: Path) -> None:
    with command_line(["broker", "--address", address], tmp_path) as broker:
        broker.wait_output("broker at broker://")
        assert "messages are in memory only" in broker.wait_errors("--data-dir FOLDER keeps them").string
        assert command(tmp_path, "publish", url, "orders.new", "-").code == 0


@pytest.mark.usefixtures("running")
def test_folder_that_another_broker_holds_is_refused(tmp_path: Path) -> None:
    held = command(tmp_path, "broker", "--address", "tcp://127.0.0.1:0", "--data-dir", "kept")
    assert held.code == 3
    assert "fastrpc broker copy" in held.errors


def test_damaged_and_newer_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    (folder / "broker.db").write_bytes(b"no database" * 1000)
    damaged = command(tmp_path, "broker", "--address", "tcp://127.0.0.1:0", "--data-dir", "kept")
    assert (damaged.code, "fastrpc broker copy" in damaged.errors) == (3, True)


def test_tokens_and_policies_guard_a_broker(address: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.toml").write_text(TOKENS)
    (tmp_path / "policy.toml").write_text('[[rule]]\nwho = ["shop"]\npublish = ["orders.*"]\n')
    for name in ("tokens.toml", "policy.toml"):
        (tmp_path / name).chmod(0o600)
    (tmp_path / "token").write_text("token-of-shop-0123456789")
    (tmp_path / "token").chmod(0o600)
    words = ["broker", "--address", address, "--tokens", "tokens.toml", "--policy", "policy.toml"]
    with command_line(words, tmp_path) as broker:
        broker.wait_output("broker at broker://")
        stranger = command(tmp_path, "publish", url, "orders.new", "1")
        assert (stranger.code, stranger.output) == (1, "")
        token = ("--token-file", "token")
        assert command(tmp_path, "publish", url, "orders.new", "1", *token).code == 0
        refused = command(tmp_path, "subscribe", url, "orders.new", *token)
        assert "shop may not subscribe to 'orders.new'" in refused.errors


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["broker", "--sync", "full"], "--sync has no effect without --data-dir"),
        (["broker", "--address", "unix:///tmp/x"], "neither TCP nor TLS"),
        (["topics", "orders"], "'orders' is not a broker"),
        (["topics", "nosuch://a"], "no broker has the scheme 'nosuch'"),
        (["subscribe", "memory://a", "orders.new", "--from", "oldest"], "--from is given without --group"),
        (["subscribe", "memory://a", "a", "--group", "g", "--from", "middle"], "'middle' is not a place"),
        (["dead", "memory://a", "bury", "g"], "bury"),
        (["dead", "memory://a", "replay", "g"], "replay takes the ids of messages, or --all"),
    ],
)
def test_wrong_uses_are_reported(words: list[str], told: str, tmp_path: Path) -> None:
    refused = command(tmp_path, *words)
    assert (refused.code, refused.output) == (2, "")
    assert told in refused.errors


@pytest.mark.parametrize("is_json", [False, True])
def test_a_server_names_the_methods_that_it_starts_itself(tmp_path: Path, is_json: bool) -> None:
    (tmp_path / "shop.py").write_text(MAILER)
    options = ["--address", "tcp://127.0.0.1:0", *(["--json"] if is_json else [])]
    with command_line(["run", "shop:app", *options], tmp_path) as program:
        if is_json:
            program.wait_output(r'"background":\{"mailer":\["confirm"\]\}')
        else:
            program.wait_output("mailer  started by the server: confirm\n")


@pytest.mark.parametrize(
    "words",
    [["topics"], ["publish", "orders.new", "1"], ["dead", "list", "billing.bill"]],
    ids=lambda w: w[0],
)
def test_command_whose_broker_is_away_says_how_to_start_one(
    words: list[str], url: str, tmp_path: Path
) -> None:
    failed = command(tmp_path, words[0], url, *words[1:])
    assert failed.code == 1
    assert "hint: is it running? `fastrpc broker` serves one" in failed.errors
