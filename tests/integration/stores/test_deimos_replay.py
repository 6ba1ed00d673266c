"""The exchanges recorded from real nodes of Deimos, replayed against ours: equal but for the named differences."""

import asyncio
from typing import Any

import pytest

from fastrpc.coordination.deimos import application
from fastrpc.coordination.deimos.requests import read_request
from tests.support.deimos_vectors import DeimosServer, deimos_cases, deimos_server, recorded, sent
from tests.support.http_talk import HttpClient, Response

pytestmark = pytest.mark.one_loop

COMPARED = "conditions are compared beside prevExists, in the form of a DELETE, and by prevExist"
PAGES = "requests of pages in browsers are refused"
KEPT = "10,000 events are kept"
STREAM = "a stream shows each event"
OVER = "keys end in time"
MEMBERS = "there are no members below /_deimos"

#: By case and number of the exchange: status, error code or action, cause or value; and why.
DIFFERENT: dict[tuple[str, int], tuple[int, int | str, str, str]] = {
    ("root", 2): (404, 100, "/_deimos", MEMBERS),
    ("cors", 0): (403, 110, "pages in browsers are refused", PAGES),
    ("cors", 1): (403, 110, "pages in browsers are refused", PAGES),
    ("cors", 2): (403, 110, "pages in browsers are refused", PAGES),
    ("cors", 3): (403, 110, "pages in browsers are refused", PAGES),
    ("prev_exist_singular", 0): (201, "create", "one", COMPARED),
    ("prev_exist_singular", 1): (412, 105, "/lock", COMPARED),
    ("prev_exist_singular", 2): (404, 100, "/nothing", COMPARED),
    ("exists_before_compare", 1): (412, 101, "[wrong != 1]", COMPARED),
    ("exists_before_compare", 2): (412, 101, "[1 != 3]", COMPARED),
    ("compare_and_delete", 8): (412, 101, "[no != 3]", COMPARED),
    ("compare_and_delete", 9): (412, 101, "[1 != 3]", COMPARED),
    ("ttl_overdue", 1): (404, 100, "/o0", OVER),
    ("ttl_refresh", 1): (200, "update", "", COMPARED),
    ("watch_cleared", 2): (400, 401, "the requested history has been cleared [3/1]", KEPT),
    ("watch_cleared", 3): (200, "set", "2", KEPT),
    ("lock", 5): (412, 101, "[alice != bob]", COMPARED),
    ("lock", 6): (412, 105, "/l", COMPARED),
    ("lock", 7): (200, "compareAndSwap", "bob", COMPARED),
    ("lock", 8): (412, 101, "[carol != bob]", COMPARED),
}

#: The indexes of later exchanges are less by one.
SHIFTED = {("compare_and_delete", number): 1 for number in range(10, 20)}

#: Requests before a recording.
BEFORE = {
    "phobos_short_interval": ["phobos dir=true", "phobos/Arith dir=true"],
    "phobos_two_services": [
        "phobos dir=true",
        "phobos/Arith dir=true",
        "phobos/Arith/tcp@127.0.0.1:8972 ttl=2&value=",
        "phobos/Shop dir=true",
        "phobos/Shop/tcp@127.0.0.1:8972 ttl=2&value=",
        "phobos/Arith/tcp@127.0.0.1:8972 ttl=2&value=",
    ],
}

#: The order of exchanges that were under way at once.
ORDER = {"phobos_discovers": [0, 3, 4, 5, 1, 6, 7, 8]}

#: A time is over before them.
AFTER_TIME = {("lock", 4), ("ttl_overdue", 1)}

FIELDS = ("content-type", "x-deimos-index", "x-raft-term", "allow", "location", "transfer-encoding")


def is_expected_error(found: Response, body: str, index: str) -> None:
    """An error is its object alone."""
    assert found.body.decode() == body.split("\n")[0] + "\n"
    assert (found["content-type"], found["x-deimos-index"]) == ("application/json", index)


def check(found: Response, exchange: dict[str, Any], *, less: int = 0) -> None:
    """Compare a response with the recorded one."""
    assert found.status == exchange["status"]
    fields = {name.lower(): value for name, value in exchange["headers"].items()}
    body = exchange["body"]
    if less:
        for index in range(20):
            body = body.replace(f'Index":{index}', f'Index":{index - less}').replace(
                f'"index":{index}', f'"index":{index - less}'
            )
        fields["x-deimos-index"] = str(int(fields["x-deimos-index"]) - less)
    if body.startswith('{"errorCode'):
        is_expected_error(found, body, fields["x-deimos-index"])
        return
    assert recorded(found.body.decode()) == recorded(body)
    for name in (*FIELDS, "x-content-type-options"):
        assert [value for known, value in found.fields if known == name] == (
            [fields[name]] if name in fields else []
        ), name
    assert ("x-raft-index" in found) == ("x-raft-index" in fields)
    ours = {"date", "x-raft-index", *(["content-length"] if exchange["request"].startswith("HEAD ") else [])}
    assert {name for name, _ in found.fields} <= {*fields, *ours}


def check_difference(found: Response, expected: tuple[int, int | str, str, str]) -> None:
    status, what, value, _ = expected
    assert found.status == status
    if isinstance(what, int):
        assert (found.value["errorCode"], found.value["cause"]) == (what, value)
    else:
        assert (found.value["action"], found.value["node"]["value"]) == (what, value)


class Replay:
    """Replays one case."""

    def __init__(self, server: DeimosServer, name: str) -> None:
        self.server = server
        self.name = name
        self.watches: dict[str, HttpClient] = {}
        self.heads: dict[str, Response] = {}

    async def run(self) -> None:
        exchanges = deimos_cases()[self.name]
        for step in BEFORE.get(self.name, ()):
            key, form = step.split(" ")
            await self.server.ask("PUT", f"/keys/{key}", form)
        for number in ORDER.get(self.name, range(len(exchanges))):
            await self.step(number, exchanges[number])
        if self.name == "phobos_discovers":
            await self.end_watch({**exchanges[5], "watch": "5", "chunks": [exchanges[5]["body"]]})

    async def step(self, number: int, exchange: dict[str, Any]) -> None:
        different = DIFFERENT.get((self.name, number))
        if (self.name, number) in AFTER_TIME:
            self.server.advance(5)
        if "event" in exchange:
            await self.happen(exchange["event"])
        elif "chunks" in exchange:
            await self.end_watch(exchange)
        elif "watch" in exchange or (self.name, number) == ("phobos_discovers", 5):
            await self.begin_watch(exchange.get("watch", str(number)), exchange)
        elif exchange.get("ended") or (self.name, number) == ("phobos_discovers_cleared", 3):
            # It waits still: the events are kept.
            await self.begin_watch("left", exchange)
            self.watches.pop("left").writer.close()
        else:
            found = await self.server.answer(exchange)
            if different is not None:
                check_difference(found, different)
            elif self.name == "machines" and number == 0:
                check(found, {**exchange, "body": f"http://127.0.0.1:{self.server.address.port}"})
            elif self.name == "ttl_refresh" and number == 2:
                # The created index of the key before is the kept one.
                check(
                    found,
                    {
                        **exchange,
                        "body": exchange["body"].replace(
                            '"modifiedIndex":4,"createdIndex":4', '"modifiedIndex":4,"createdIndex":3'
                        ),
                    },
                )
            else:
                check(found, exchange, less=SHIFTED.get((self.name, number), 0))

    async def happen(self, event: str) -> None:
        if " sets of " in event:
            count, key = int(event.split(" ")[0]), event.split(" ")[3].strip(";").removeprefix("/keys")
            for value in range(count):
                self.server.app.tree.put(read_request("PUT", key, b"value=%d" % value, b""))
        elif "longer" in event or "gone after" in event:
            self.server.advance(60)

    async def begin_watch(self, name: str, exchange: dict[str, Any]) -> None:
        client = await HttpClient.to(self.server.address)
        client.send(sent(exchange))
        head = await client.head()
        assert (head.status, head["content-type"]) == (200, "application/json")
        assert "x-deimos-index" not in head
        self.watches[name], self.heads[name] = client, head

    async def end_watch(self, exchange: dict[str, Any]) -> None:
        client, head = self.watches.pop(exchange["watch"]), self.heads.pop(exchange["watch"])
        assert head.status == exchange["status"]
        chunks = list(exchange["chunks"])
        if self.name == "watch_deleted_above":
            # Here the history includes the end of a directory above as well, and the watch ends with it.
            chunks, exchange = [deimos_cases()[self.name][1]["body"]], {**exchange, "ended": ""}
        if self.name == "watch_stream":
            # Each later event as well; the recorded one alone came.
            chunks += [None] * (2 if exchange["watch"] == "history" else 1)
        for expected in chunks:
            found = (await client.chunk()).decode()
            assert expected is None or recorded(found) == recorded(expected)
        if exchange.get("ended", "").startswith("open"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.reader.read(1)
        else:
            assert await client.chunk() == b""
        client.writer.close()


@pytest.mark.parametrize("name", sorted(deimos_cases().keys() - {"watch_ends"}))
async def test_recorded_exchanges_are_repeated(name: str) -> None:
    async with deimos_server() as server:
        await Replay(server, name).run()


async def test_watch_without_an_event_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The case `watch_ends`: here no end of a watch makes another one deaf."""
    async with deimos_server() as server:
        stream = await HttpClient.to(server.address)
        stream.send(sent({"request": "GET /keys/k?wait=true&stream=true"}))
        await stream.head()
        monkeypatch.setattr(application, "WATCH_SECONDS", 0.01)
        idle = await server.ask("GET", "/keys/k?wait=true")
        assert (idle.status, idle.body, idle["content-type"]) == (200, b"", "application/json")
        await server.ask("PUT", "/keys/k", "value=1")
        assert b'"value":"1"' in await stream.chunk()
        stream.writer.close()


def test_differences_are_of_recorded_exchanges() -> None:
    for name, number in DIFFERENT:
        assert "request" in deimos_cases()[name][number], (name, number)
