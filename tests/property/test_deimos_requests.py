"""Mutated requests in the dialect of Deimos: each gets a whole answer of its kind, and nothing is left of it."""

import asyncio
import contextlib
import json
import logging
import random
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

import h11
import pytest

from fastrpc import Address
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.coordination import StoreService
from fastrpc.coordination.deimos import events
from fastrpc.stores.local import history
from fastrpc.testing import FakeClock
from fastrpc.transports.base import DialOptions
from fastrpc.transports.memory import TRANSPORT
from tests.conftest import Scale
from tests.support.deimos_vectors import DeimosServer, deimos_cases, deimos_server, sent
from tests.support.memory_growth import resident_bytes
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ADDRESS: Final = "memory://mutated-deimos"

#: Turns of the loop after which a request in memory is answered, or never will be.
TURNS: Final = 30

#: Watches and incomplete requests that stay open during the next requests.
OPEN: Final = 8

#: Most bytes of keys and values in the store.
STORE_BYTES: Final = 1_000_000

FORM: Final = "application/x-www-form-urlencoded"

RECORDED: Final = [
    exchange for exchanges in deimos_cases().values() for exchange in exchanges if "request" in exchange
]

#: Requests whose answers have a body, even if the verb cannot be read.
WITH_BODIES: Final = [exchange for exchange in RECORDED if not exchange["request"].startswith("HEAD ")]

VERBS: Final = ("GET", "GET", "PUT", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "put", "TRACE")

#: Words of paths, names of parameters and their values, separated by spaces.
PARTS: Final = {
    "words": r"a b _c . .. %2e%2e %2E %2f %2F%2f %00 %0a %ff %c0%ae %25 %zz %F0%9F%90%98 \ keys _deimos locks",
    "names": "value ttl dir prevExists prevExist prevValue prevIndex recursive sorted wait waitIndex stream %76alue",
    "values": "1 0 true false TRUE yes -1 +1 %2B1 1.5 %ff a;b a%26b = %3C%26%E2%80%A8 %D9%A1 18446744073709551616",
}
WORDS: Final = ("", "k" * 600, "/".join("d" * 240), *PARTS["words"].split(" "))
NAMES: Final = ("", *PARTS["names"].split(" "))
VALUES: Final = (
    "",
    "9" * 20,
    "9" * 30,
    str(2**64 - 1),
    str(2**63 - 1),
    "x" * 3_000,
    *PARTS["values"].split(" "),
)

FIELDS: Final = (
    {"Origin": "http://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "none"},
    {"Content-Type": "application/json"},
    {"Content-Type": f"{FORM}; charset=utf-8"},
    {"Content-Type": f"multipart/form-data; boundary={FORM}"},
    {"Expect": "100-continue"},
    {"Connection": "close"},
    {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "a" * 22 + "==",
    },
    {"X-HTTP-Method-Override": "DELETE"},
    {"Accept": "text/event-stream"},
    {"Authorization": "Bearer planted"},
)

#: Statuses of the dialect, and of requests that are not HTTP/1.1. The only ones for a failure of the server are 501 and
#: 505, for parts of HTTP that it lacks, and 507, for a full store.
STATUSES: Final = {
    *(200, 201, 307, 400, 403, 404, 405, 408, 411, 412, 413, 414, 415, 417, 421, 426, 431),
    *(501, 505, 507),
}


def pick(choose: random.Random, *, of: Sequence[str], count: int) -> list[str]:
    return [choose.choice(of) for _ in range(choose.randrange(count))]


def parameters(choose: random.Random, given: str) -> str:
    """Return parameters, some of which are different or come twice."""
    parts = [part for part in given.split("&") if part and choose.random() < 0.8]
    parts += [
        f"{choose.choice(NAMES)}={choose.choice(VALUES)}" for _ in range(choose.choice((0, 0, 1, 2, 3)))
    ]
    choose.shuffle(parts)
    if choose.random() < 0.01:
        parts += ["x=1"] * 1_100
    return "&".join(parts)


def other_request(choose: random.Random) -> bytes:
    """Return a whole request of HTTP with other words, parameters and fields than a recorded one."""
    exchange = choose.choice(RECORDED)
    verb, _, target = exchange["request"].partition(" ")
    path, _, query = target.partition("?")
    words = path.split("/")
    for word in pick(choose, of=WORDS, count=3):
        at = choose.randrange(1, len(words) + 1)
        # Above a key, or in the place of one.
        words[at : at + choose.randrange(2)] = [word]
    form, fields = exchange.get("request_body", ""), dict(exchange.get("request_headers", {}))
    if choose.random() < 0.3:
        # A form may have characters that a target has not.
        query, form = re.sub("[^!-~]", "+", form), query
    query, form = parameters(choose, query), parameters(choose, form)
    if form and choose.random() < 0.9:
        fields["Content-Type"] = FORM
    for _ in range(choose.choice((0, 0, 0, 1, 2))):
        fields |= choose.choice(FIELDS)
    changed = {
        "request": f"{choose.choice((verb, choose.choice(VERBS)))} {'/'.join(words)}{'?' if query else ''}{query}",
        "request_headers": fields,
        "request_body": form,
    }
    return sent(changed)


def other_bytes(choose: random.Random, data: bytes) -> bytes:
    """Return bytes with a few changes anywhere."""
    changed = bytearray(data)
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(changed) + 1)
        match choose.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([choose.randrange(256)])
            case 1:
                del changed[at : at + choose.randint(1, 8)]
            case 2:
                changed[at:at] = choose.randbytes(choose.randint(1, 8))
            case 3:
                changed[at:at] = choose.choice(
                    (b"%", b"%2", b"&", b"=", b"/", b"..", b"\r\n", b"\0", b"?", b";")
                )
            case _:
                changed[at:at] = changed[max(at - choose.randint(1, 60), 0) : at]
    return bytes(changed)


class Heard(asyncio.BufferedProtocol):
    """Keeps all that a server says."""

    def __init__(self) -> None:
        self.data = b""
        self.is_over = False
        self._place = bytearray(65_536)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self._place[:nbytes]

    def connection_lost(self, error: Exception | None) -> None:
        self.is_over = True


class Asked:
    """A connection with one mutated request, and all that follows from its bytes."""

    def __init__(self, data: bytes, transport: asyncio.Transport, heard: Heard, *, is_whole: bool) -> None:
        self._data = data
        self._is_whole = is_whole
        self._transport = transport
        self._heard = heard
        transport.write(data)

    @classmethod
    async def of(cls, data: bytes, *, is_whole: bool) -> "Asked":
        transport, heard = await TRANSPORT.dial(Address.parse(ADDRESS), Heard, DialOptions())
        return cls(data, transport, heard, is_whole=is_whole)

    async def settle(self) -> None:
        """Let the server answer."""
        for _ in range(TURNS):
            if self._heard.is_over:
                break
            await asyncio.sleep(0)

    def close(self) -> int:
        """End the connection; return how many whole answers there were."""
        self._transport.abort()
        found = answers(self._data, self._heard.data)
        # A whole request is answered, unless it waits for an event.
        assert found or not self._is_whole or b"wait" in self._data, self._data
        return len(found)


def answers(asked: bytes, said: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each whole answer; all that was said is one, or the beginning of one."""
    parser = h11.Connection(h11.CLIENT)
    if said:
        parser.receive_data(said)
    verb = "HEAD" if asked.lstrip(b"\r\n").startswith(b"HEAD ") else "GET"
    found: list[tuple[int, bytes]] = []
    while parser.trailing_data[0]:
        parser.send(h11.Request(method=verb, target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
        head, body = None, b""
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return found
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.Response):
                head = event
        assert head is not None
        check(head, body, has_body=verb != "HEAD")
        found.append((head.status_code, body))
        if parser.their_state is not h11.DONE:
            assert not parser.trailing_data[0]
            return found
        parser.start_next_cycle()
        verb = "GET"
    return found


def check(head: h11.Response, body: bytes, *, has_body: bool) -> None:
    """Look whether an answer is one of the dialect, or of the server below."""
    fields = {name.decode(): value.decode() for name, value in head.headers}
    assert head.status_code in STATUSES, (head, body)
    kind = fields.get("content-type", "")
    if not has_body:
        return
    if kind == "application/json":
        for line in body.splitlines():
            found = json.loads(line)
            assert (
                {"errorCode", "message", "cause", "index"} == found.keys()
                or "action" in found
                or "code" in found
            )
            if "action" in found:
                assert found["node"]["key"].startswith("/")
    else:
        body.decode()
    if "x-deimos-index" in fields:
        assert int(fields["x-deimos-index"]) >= 0


async def ask_mutated(server: DeimosServer, count: int, choose: random.Random) -> list[int]:
    """Send mutated requests, some of which stay open; return the number of complete answers of each."""
    open_ones: deque[Asked] = deque()
    found = []
    for number in range(count):
        is_whole = choose.random() < 0.6
        data = other_request(choose) if is_whole else other_bytes(choose, sent(choose.choice(WITH_BODIES)))
        open_ones.append(await Asked.of(data, is_whole=is_whole))
        await open_ones[-1].settle()
        if len(open_ones) > OPEN:
            found.append(open_ones.popleft().close())
        if number % 100 == 99:
            server.advance(choose.random() * 10)
    found += [one.close() for one in open_ones]
    assert server.app._opened is not None
    log = server.app.tree.log
    await eventually(lambda: not log._watches)
    return found


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[DeimosServer]:
    clock = FakeClock()
    service = StoreService(clock=clock, most_bytes=STORE_BYTES)
    async with deimos_server(service, address=ADDRESS, clock=clock) as server:
        yield server


async def test_server_outlives_mutated_requests_and_keeps_nothing_of_them(
    scale: Scale, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with served() as server:
        before = bytes_held()
        found = await ask_mutated(server, scale.inputs(100_000, share=0.02), scale.random(23))
        await eventually(lambda: bytes_held() == before)
        figures = server.store.figures()
        assert figures["bytes"] <= STORE_BYTES
        assert figures["leases"] == len(server.app.tree._ends)
        good = await Asked.of(sent({"request": "PUT /keys/good?value=1"}), is_whole=True)
        await good.settle()
        assert good.close() == 1
    assert caplog.records == []
    # Most have an answer; watches and incomplete requests wait for more.
    assert found.count(0) < 0.3 * len(found)
    assert found.count(0) > 0


@pytest.mark.measures
async def test_memory_of_mutated_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_EVENTS", 200)
    monkeypatch.setattr(history, "_CHANGES", 200)
    choose = random.Random(5)
    async with served() as server:
        await ask_mutated(server, 2_000, choose)
        before = resident_bytes()
        await ask_mutated(server, 4_000, choose)
        # A request that left a kilobyte would show.
        assert resident_bytes() - before < 2 << 20
