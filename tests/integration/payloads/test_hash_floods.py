"""Keys chosen to collide are refused before a dict is made of them, on either side; honest ones pass."""

import asyncio
import datetime
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, DecodeError, Status, SyncClient
from fastrpc._core.payload.arguments import BoundArguments
from fastrpc.codecs.base import codec_named
from fastrpc.rpc.marshals import marshal_for, untyped_marshal
from fastrpc.rpc.service import method_definition
from fastrpc.testing import connected
from tests.support.colliding import alike_decimals, alike_numbers, colliding_numbers, colliding_set_values
from tests.support.colliding_payloads import json_map, packed_map
from tests.support.raw_peer import RawServer
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer
from tests.support.wire_frames import Request, Response, SettingsFrame
from tests.support.wire_parser import Preface

pytestmark = pytest.mark.one_loop

MODULUS = 2**61 - 1
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DECIMALS = alike_decimals(300)
NUMBERS = colliding_numbers(14, 6_000, 1_000)
PAIRS = [(x, y) for n in range(10, 2_010, 10) for x in alike_numbers(n) for y in alike_numbers(n + 1)]


@dataclass
class Ledger:
    accounts: list[dict[Decimal, str]]
    seen: set[int]


@fastrpc.service("tables")
class Tables:
    def __init__(self) -> None:
        self.ran = 0

    def count(self, table: Any) -> int:
        self.ran += 1
        return len(table)

    @fastrpc.method
    async def numbers(self, table: dict[int, int]) -> int:
        return self.count(table)

    @fastrpc.method
    async def decimals(self, table: dict[Decimal, int]) -> int:
        return self.count(table)

    @fastrpc.method
    async def pairs(self, table: dict[tuple[int, int], int]) -> int:
        return self.count(table)

    @fastrpc.method
    async def days(self, table: dict[datetime.datetime, int]) -> int:
        return self.count(table)

    @fastrpc.method
    async def values(self, table: set[int]) -> int:
        return self.count(table)

    @fastrpc.method
    async def nested(self, ledger: Ledger | None = None, *, more: frozenset[uuid.UUID] = frozenset()) -> int:
        return self.count(ledger.accounts if ledger is not None else more)

    @fastrpc.method
    async def plain(self, table) -> int:  # type: ignore[no-untyped-def]
        return self.count(table)

    @fastrpc.method
    async def back(self, count: int) -> dict[Decimal, int]:
        return dict.fromkeys(alike_decimals(count), 0)

    @fastrpc.method
    async def refused(self, count: int) -> None:
        raise CallError(Status.NOT_FOUND, "no", details=dict.fromkeys(NUMBERS[:count], 0))


def check_refused(payload: bytes, method: Any, codec: str) -> None:
    """Check that the arguments of a method are refused for their keys."""
    marshal = marshal_for(method_definition(method), codec, depth=100, items=1_000_000)
    with pytest.raises(CallError, match="keys of a map collide") as refused:
        marshal.decode_arguments(payload)
    assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")


@pytest.mark.parametrize(
    ("method", "keys"),
    [
        (Tables.numbers, NUMBERS),
        (Tables.decimals, [str(each) for each in DECIMALS]),
        (Tables.decimals, [f"+{each}" for each in DECIMALS]),
        (Tables.decimals, [f"{each}E0" for each in DECIMALS]),
        (Tables.decimals, [f"{each}.000" for each in DECIMALS]),
        (Tables.decimals, [f"000{each}" for each in DECIMALS]),
    ],
)
def test_keys_that_collide_are_an_invalid_argument(method: Any, keys: list[Any]) -> None:
    for before in (b"\x91", b"\x81\xa5table", b"\x81\x00"):
        check_refused(before + packed_map(keys), method, "msgpack")
    check_refused(b"[" + json_map(keys) + b"]", method, "json")
    check_refused(b'{"table":' + json_map(keys) + b"}", method, "json")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_call_with_such_keys_is_not_started_and_the_connection_lives(scheme: str) -> None:
    tables = Tables()
    async with served(tables, scheme=scheme) as target, Client(target) as client:
        for method, table in (
            (Tables.numbers, dict.fromkeys(NUMBERS, 0)),
            (Tables.decimals, dict.fromkeys(DECIMALS, 0)),
            ("tables.values", colliding_set_values(15, 18_000, 700)),
            (Tables.nested, Ledger([dict.fromkeys(DECIMALS, "")], set())),
            (Tables.plain, dict.fromkeys(NUMBERS, 0)),
            (Tables.plain, [{"a": dict.fromkeys(NUMBERS, 0)}]),
            ("tables.plain", dict.fromkeys(PAIRS, 0)),
        ):
            with pytest.raises(CallError, match="keys of a map collide") as refused:
                await client.call(method, table)
            assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")
        with pytest.raises(CallError, match="keys of a map collide"):
            await client.call(
                Tables.nested, more=frozenset(uuid.UUID(int=5 + m * MODULUS) for m in range(300))
            )
        outcomes = await client.call_many(
            Tables.decimals, [({Decimal(1): 1},), (dict.fromkeys(DECIMALS, 0),)], return_exceptions=True
        )
        assert outcomes[0] == 1
        assert outcomes[1].status is Status.INVALID_ARGUMENT
        assert tables.ran == 1


def test_keys_in_keys_too_deep_to_look_at_are_an_invalid_argument() -> None:
    body = packed_map(range(20_000))
    for _ in range(20):
        body = b"\xde\x00\xc8" + packed_map(range(199))[3:] + body + b"\xc0"
    marshal = marshal_for(method_definition(Tables.plain), "msgpack", depth=100, items=1_000_000)
    with pytest.raises(CallError, match="long maps lie in keys, or long arrays in each other") as refused:
        marshal.decode_arguments(b"\x91" + body)
    assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")
    assert refused.value.hint == "send a flatter value"


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_any_number_of_honest_keys_passes(codec: str) -> None:
    tables: list[Any] = [
        (Tables.numbers, dict.fromkeys(range(0, 20_000 << 22, 1 << 22), 0)),
        (Tables.decimals, {Decimal(number) / 100: 0 for number in range(20_000)}),
        (Tables.days, {DAY + datetime.timedelta(minutes=number): 0 for number in range(20_000)}),
        (Tables.values, set(range(20_000))),
    ]
    if codec == "msgpack":
        tables.append((Tables.pairs, {(x, y): 0 for x in range(-100, 100) for y in range(100)}))
    async with connected(Tables) as plain:
        client = plain.with_options(codec=codec)
        for method, table in tables:
            assert await client.call(method, table) == 20_000
        assert await client.call(Tables.plain, {str(number): number for number in range(20_000)}) == 20_000


def test_arguments_by_number_do_not_bypass_the_check_of_colliding_keys() -> None:
    """The map of the arguments themselves has keys that may be numbers."""
    marshal = marshal_for(method_definition(Tables.pairs), "msgpack", depth=100, items=1_000_000)
    for keys in (NUMBERS, range(65), ["table", *NUMBERS]):
        with pytest.raises(CallError, match="takes 1 argument") as refused:
            marshal.decode_arguments(packed_map(keys))
        assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")
    untyped = untyped_marshal("msgpack", depth=100, items=1_000_000)
    with pytest.raises(CallError, match="keys of a map collide"):
        untyped.decode_arguments(packed_map(NUMBERS))
    assert untyped.decode_arguments(packed_map(range(100))) == BoundArguments((0,) * 100, {})


async def test_a_result_with_such_keys_is_a_decode_error() -> None:
    async with served(Tables) as target, Client(target) as client:
        assert len(await client.call(Tables.back, 64)) == 64
        with pytest.raises(DecodeError, match="keys of a map collide"):
            await client.call(Tables.back, 300)
        # By name it is a map of texts.
        assert len(await client.call("tables.back", 300)) == 300


def test_a_blocking_client_refuses_such_a_result_too() -> None:
    with ThreadedServer(Tables) as server, SyncClient(server.address) as client:
        with pytest.raises(DecodeError, match="keys of a map collide"):
            client.call(Tables.back, 300)
        assert len(client.call(Tables.back, 3)) == 3


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_an_untyped_result_with_such_keys_is_a_decode_error(codec: str) -> None:
    marshal = untyped_marshal(codec, depth=100, items=1_000_000)
    payload = codec_named(codec).encode([{"a": dict.fromkeys(NUMBERS, 0)}])
    if codec == "json":
        assert len(marshal.decode_result(payload)[0]["a"]) == 7_000  # they are texts
        return
    with pytest.raises(DecodeError, match="keys of a map collide"):
        marshal.decode_result(payload)


async def test_details_of_an_error_with_such_keys_are_left_out_by_the_server() -> None:
    async with connected(Tables) as client:
        for count, kind in ((500, dict), (7_000, type(None))):
            with pytest.raises(CallError) as refused:
                await client.call(Tables.refused, count)
            assert refused.value.status is Status.NOT_FOUND
            assert type(refused.value.details) is kind


async def test_details_of_an_error_with_such_keys_stay_bytes_at_the_client() -> None:
    async with RawServer() as server, Client(server.address) as client:
        call = asyncio.create_task(client.call(Tables.refused, 1))
        peer = await server.accept()
        peer.send(Preface(1, 1).encode(), SettingsFrame().encode())
        request = await peer.next(Request)
        payload = packed_map(NUMBERS)
        peer.send(Response(request.id, Status.NOT_FOUND, payload, codec=request.codec).encode())
        with pytest.raises(CallError) as refused:
            await call
        assert (refused.value.status, refused.value.details) == (Status.NOT_FOUND, payload)


def test_messages_of_streams_are_looked_at_as_well() -> None:
    @fastrpc.service("feeds")
    class Feeds:
        @fastrpc.method
        async def put(self, tables: AsyncIterator[dict[Decimal, int]]) -> None: ...

    marshal = marshal_for(method_definition(Feeds.put), "msgpack", depth=100, items=1_000_000)
    assert marshal.decode_message(packed_map(["1", "2"])) == {Decimal(1): 0, Decimal(2): 0}
    with pytest.raises(CallError, match="keys of a map collide"):
        marshal.decode_message(packed_map(map(str, DECIMALS)))
