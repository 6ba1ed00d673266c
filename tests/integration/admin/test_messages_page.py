"""The admin page of a broker: its topics and groups with their figures, and no message."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Server, ServerConfig, Topic
from fastrpc.brokers import open_broker
from fastrpc.brokers.base import GroupState
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.observed.figures import BrokerFigures
from fastrpc.brokers.remote.service import BrokerService
from fastrpc.server.admin.html import table_page
from tests.support.admin_pages import fetch, page, server_with_pages
from tests.support.program import command_line

pytestmark = pytest.mark.one_loop

JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}

NONE = {"published": 0, "acked": 0, "retried": 0, "dead": 0, "expired": 0, "damaged": 0, "missed": 0}


def url_of(server: Server) -> str:
    return f"broker://{str(server._listening.listeners[0].address).partition('://')[2]}"


async def test_page_shows_topics_and_groups_without_messages() -> None:
    async with server_with_pages(BrokerService()) as server, open_broker(url_of(server)) as broker:
        await broker.declare(Topic("orders.**", dict))
        async with broker.subscribe("orders.*", group="billing", ordered=True) as messages:
            for _ in range(3):
                await broker.publish("orders.new", {"card": "planted-value"}, headers={"planted-name": "x"})
            await (await anext(messages)).reject("planted-reason")
            # The second one is under way.
            await anext(messages)
            answer = await page(server, "/messages", **JSON)
            html = await page(server, "/messages", **HTML)
        shown = answer.json
        assert shown["messages"] == {"topics": 1, "groups": 1, "file_bytes": 0}
        assert shown["topics"] == [{"topic": "orders.**"} | NONE | {"published": 3, "dead": 1}]
        [group] = shown["groups"]
        assert 0 < group.pop("oldest_seconds") < 60
        # An ordered group without keys may have further ones under way.
        assert group.pop("under_way") >= 1
        assert group == {
            "group": "billing",
            "topic": "orders.**",
            "pattern": "orders.*",
            "ordered": True,
            "members": 1,
            "lag": 2,
            "dead": 1,
            "expired": 0,
        }
        for text in (answer.text, html.text):
            assert "planted" not in text
            assert "billing" in text


class SameGroups:
    """Groups that do not change."""

    def __init__(self, groups: Sequence[GroupState]) -> None:
        self._groups = groups

    def begin(self) -> None: ...

    def states(self) -> Sequence[GroupState]:
        return self._groups


def test_names_are_escaped() -> None:
    name = "<img src=x onerror='alert(1)'>\x1b\u202e"
    group = GroupState(name, name, name, False, 0, 0, 0.0, 0, 0, 0)
    figures = BrokerFigures(lambda: {name: TopicCounts()}, SameGroups([group]))
    text = table_page("/messages", figures.shown(10))
    assert "<img" not in text
    assert text.count("&lt;img src=x onerror=&#x27;alert(1)&#x27;&gt;\\x1b\\u202e") == 4


async def test_page_has_the_first_rows_and_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.server.admin.state.MOST_ROWS", 3)
    async with server_with_pages(BrokerService()) as server, open_broker(url_of(server)) as broker:
        for number in range(9):
            await broker.declare(Topic(f"t{number}", int, keep_seconds=None, groups=(f"g{number}",)))
        shown = (await page(server, "/messages", **JSON)).json
        assert (shown["messages"]["topics"], shown["messages"]["groups"]) == (9, 9)
        assert [one["topic"] for one in shown["topics"]] == ["t0", "t1", "t2"]
        assert [one["group"] for one in shown["groups"]] == ["g0", "g1", "g2"]


async def test_page_needs_the_token_of_the_other_pages() -> None:
    async with server_with_pages(BrokerService(), admin_token="s3cret") as server:
        assert (await page(server, "/messages")).status == 401
        assert (await page(server, "/messages", Authorization="Bearer s3cret")).status == 200


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_page_shows_the_broker_that_a_server_uses_and_does_not_host(
    scheme: str, tmp_path: Path
) -> None:
    url = "memory://shown" if scheme == "memory" else f"sqlite://{tmp_path}/broker"
    async with Server(broker=url, config=ServerConfig(admin_address="tcp://127.0.0.1:0")) as server:
        broker: Any = server._gate.dispatcher.broker  # type: ignore[union-attr]
        await broker.publish("orders.new", 1)
        shown = (await page(server, "/messages", **JSON)).json
        assert shown["topics"] == [{"topic": "orders.new"} | NONE | {"published": 1}]
        assert bool(shown["messages"]["file_bytes"]) == (scheme == "sqlite")
        background = server._offer.background
    # While the sources of a server are left, it has pages still.
    assert background.subscribing.shown(10) is None


async def test_broker_of_another_process_is_shown_by_its_own_page() -> None:
    async with server_with_pages(BrokerService()) as host:
        config = ServerConfig(admin_address="tcp://127.0.0.1:0")
        async with Server(broker=url_of(host), config=config) as server:
            await server._gate.dispatcher.broker.publish("orders.new", 1)  # type: ignore[union-attr]
            assert (await page(server, "/messages", **JSON)).json == {"messages": []}
            assert [one["topic"] for one in (await page(host, "/messages", **JSON)).json["topics"]] == [
                "orders.new"
            ]


async def test_server_without_a_broker_shows_none() -> None:
    async with server_with_pages() as server:
        assert (await page(server, "/messages", **JSON)).json == {"messages": []}
        assert "<p>none</p>" in (await page(server, "/messages", **HTML)).text


def test_command_serves_the_page(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    admin = ["--admin-address", "tcp://127.0.0.1:0", "--admin-token", "token"]
    arguments = ["broker", "--address", "tcp://127.0.0.1:0", "--json", "--data-dir", "broker"]
    with command_line([*arguments, *admin, "--log-level", "info"], tmp_path) as program:
        port = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
        assert fetch(port, "/messages").status == 401
        answer = fetch(port, "/messages", Authorization="Bearer s3cret", **JSON)
        assert answer.json["topics"] == []
        assert answer.json["messages"]["file_bytes"] > 0
        assert json.loads(program.wait_output(r"^\{.*\}$")[0])["urls"]
