"""Strangers that call `fastrpc.broker` by plain calls: pulled messages, followers, odd values by every protocol."""

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, Client, FastRPCError, Server, ServerConfig, Status
from fastrpc.auth import Identity, StaticTokens
from fastrpc.brokers.base import BrokerBackend, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.remote import pulled
from fastrpc.brokers.remote.consumer import Consumer
from fastrpc.brokers.remote.messages import MESSAGE_BYTES
from fastrpc.brokers.remote.service import BrokerService
from tests.support.http_talk import HttpClient, request
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

TOKENS = StaticTokens({"token-of-shop": Identity("shop")})


class Served:
    """A broker with the topic orders.new by all protocols, and a native caller."""

    def __init__(self, service: BrokerService, address: fastrpc.Address, client: Client) -> None:
        self.service = service
        self.address = address
        self.client = client

    @property
    def backend(self) -> BrokerBackend:
        return self.service.backend

    async def call(self, method: str, *arguments: Any) -> Any:
        return await self.client.call(f"fastrpc.broker.{method}", *arguments)

    async def post(self, method: str, arguments: Any) -> tuple[int, Any]:
        """Call by JSON; return the status of HTTP and the answer."""
        if isinstance(arguments, list):
            parameters = list(inspect.signature(getattr(BrokerService, method)).parameters)[1:]
            arguments = dict(zip(parameters, arguments, strict=False))
        body = arguments if isinstance(arguments, bytes) else json.dumps(arguments).encode()
        async with await HttpClient.to(self.address) as client:
            found = await client.post(f"/fastrpc.broker/{method}", body, Content_Type="application/json")
        return found.status, json.loads(found.body or b"null")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    service = BrokerService()
    config = ServerConfig(protocols=("native", "http", "grpc"), http=HTTP(json=True))
    async with Server(service, config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address) as client:
            await service.backend.declare(TopicSettings("orders.new"))
            yield Served(service, address, client)


async def published(served: Served, *bodies: bytes) -> None:
    await served.backend.publish([OutgoingMessage("orders.new", body) for body in bodies])


# Pulled messages


async def test_message_is_pulled_and_settled_by_json(served: Served) -> None:
    status, answer = await served.post("pull", {"pattern": "orders.new", "group": "g"})
    assert (status, answer) == (200, [])
    status, answer = await served.post("publish", {"topic": "orders.new", "body": "eA==", "id": "order-17"})
    assert (status, answer["id"], answer["sequence"], answer["is_duplicate"]) == (200, "order-17", 1, False)
    status, (one,) = await served.post("pull", {"pattern": "orders.new", "group": "g", "most": 5})
    assert (one["message"]["body"], one["message"]["id"], one["message"]["delivery"]) == (
        "eA==",
        "order-17",
        1,
    )
    assert await served.post("settle", [[{"token": one["token"], "verb": "nack"}]]) == (200, [True])
    _, (again,) = await served.post("pull", ["orders.new", "g"])
    assert again["message"]["delivery"] == 2
    assert await served.post("settle", [[{"token": one["token"]}, {"token": again["token"]}]]) == (
        200,
        [False, True],
    )
    (state,) = await served.backend.groups()
    assert (state.lag, state.members) == (0, 0)


async def test_expired_lease_gives_the_message_to_another_consumer_and_counts_the_delivery(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulled, "_LEAST_LEASE_SECONDS", 0.01)
    await served.call("pull", "orders.new", "g")
    await published(served, b"1")
    (one,) = await served.call("pull", "orders.new", "g", 1, 0.0, 0.02)
    (again,) = await served.call("pull", "orders.new", "g", 1, 20.0)
    assert again["message"]["delivery"] == 2
    assert await served.call("settle", [{"token": one["token"]}]) == [False]
    assert await served.call("settle", [{"token": again["token"], "verb": "reject", "reason": "no"}]) == [
        True
    ]
    (letter,) = await served.backend.dead_letters("g")
    assert letter.reason == "no"


async def test_renewed_lease_lasts(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulled, "_LEAST_LEASE_SECONDS", 0.01)
    await served.call("pull", "orders.new", "g")
    await published(served, b"1")
    (one,) = await served.call("pull", "orders.new", "g", 1, 0.0, 5.0)
    assert await served.call("settle", [{"token": one["token"], "verb": "renew", "lease_seconds": 40.0}]) == [
        True
    ]
    await served.backend.seek("g", "oldest")
    assert await served.call("settle", [{"token": one["token"], "verb": "renew"}]) == [False]


async def test_pulled_messages_have_a_bound_and_large_ones_are_handed_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.call("pull", "orders.new", "g")
    await published(served, *(bytes(1_000_000) for _ in range(10)))
    found = await served.call("pull", "orders.new", "g", 10)
    assert 1 <= len(found) < 10
    assert sum(len(one["message"]["body"]) for one in found) < MESSAGE_BYTES
    again = await served.call("pull", "orders.new", "g", 10)
    assert {one["message"]["delivery"] for one in again} == {1}
    monkeypatch.setattr(pulled, "MOST_PULLED", 5)
    with pytest.raises(fastrpc.CallError, match="the limit is 5") as caught:
        await served.call("pull", "orders.new", "g", 1)
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


async def test_pull_that_is_cancelled_takes_nothing(served: Served) -> None:
    pulling = asyncio.ensure_future(served.call("pull", "orders.new", "g", 1, 50.0))
    await eventually(lambda: served.service.backend.takes._waiting)
    pulling.cancel()
    await asyncio.gather(pulling, return_exceptions=True)
    await eventually(lambda: not served.service.backend.takes._waiting)
    await published(served, b"1")
    (one,) = await served.call("pull", "orders.new", "g")
    assert one["message"]["delivery"] == 1


# Followers


async def test_follower_of_a_group_acknowledges_the_messages_it_receives(served: Served) -> None:
    async with served.client.stream("fastrpc.broker.follow", "orders.new", "g") as messages:
        await eventually(lambda: served.service.backend.takes._waiting)
        await published(served, b"1", b"2")
        found = [await messages.receive() for _ in range(2)]
        assert [one["body"] for one in found] == [b"1", b"2"]
        await eventually(lambda: served.service.backend.takes._waiting)
        assert [one.lag for one in await served.backend.groups()] == [0]


async def test_broadcast_is_followed_by_server_sent_events(served: Served) -> None:
    async with await HttpClient.to(served.address) as client:
        body = b'{"pattern": "orders.new"}'
        fields = {"Content_Type": "application/json", "Accept": "text/event-stream"}
        client.send(request("POST", "/fastrpc.broker/follow", body, **fields))
        # The head comes with the first event.
        await eventually(lambda: served.service.backend.takes._waiting)
        await published(served, b"1")
        found = await client.head()
        assert (found.status, found["content-type"].partition(";")[0]) == (200, "text/event-stream")
        told = b""
        while b"data:" not in told:
            told += await client.chunk() or b""
        assert b'"body":"MQ=="' in told


# Odd values

DELAYS: list[Any] = [-1, -1e-9, 1e309, 10**400, 604_800, True, "1", []]
KEYS: list[Any] = ["", "x" * 513, "é" * 257, 1, True, []]

ODD: list[tuple[str, Any]] = [
    *(
        ("publish", {"topic": topic, "body": ""})
        for topic in ("", "a..b", "*", "orders.*", "a b", "\u0000", "x" * 300, 1, None)
    ),
    *(("publish", {"topic": "orders.new", "body": "", "delay": delay}) for delay in DELAYS),
    *(("publish", {"topic": "orders.new", "body": "", "key": key}) for key in KEYS),
    *(("publish", {"topic": "orders.new", "body": "", "id": id}) for id in ("", "x" * 513, 1, False)),
    *(
        ("publish", {"topic": "orders.new", "body": "", "headers": headers})
        for headers in (
            {"authorization": "Bearer x"},
            {"Authorization": "Bearer x"},
            {"frpc-x": "1"},
            {"frpc-traceparent": "1"},
            {"a b": "1"},
            {"a": 1},
            {"a": "x" * 9_000},
            ["a"],
        )
    ),
    ("publish", {"topic": "orders.new", "body": "", "trace": {"authorization": "x"}}),
    ("publish", {"topic": "orders.new", "body": 1}),
    ("publish", {"topic": "orders.new", "body": "%"}),
    ("publish", {"topic": "orders.new"}),
    ("publish_many", [[{"topic": "orders.new", "body": ""}, {"topic": "", "body": ""}]]),
    ("publish_many", ["x"]),
    *(
        ("pull", {"pattern": "orders.new", "group": group})
        for group in ("", "a b", "*", "a..b", None, 1, "x" * 300)
    ),
    *(("pull", {"pattern": pattern, "group": "g"}) for pattern in ("", "a.**.b", "nosuch", "orders", None)),
    *(
        ("pull", {"pattern": "orders.new", "group": "g", "most": most})
        for most in (0, -1, 10**6, 10**30, True, 1.5)
    ),
    *(
        ("pull", {"pattern": "orders.new", "group": "g", name: value})
        for name in ("wait_seconds", "lease_seconds")
        for value in (-1, -1e-9, 1e309, 10**400, "1", True)
    ),
    *(
        ("pull", {"pattern": "orders.new", "group": "g", "start": start})
        for start in ("", "middle", "-1", "9" * 30, "2026-01-01", 1)
    ),
    ("pull", {"pattern": "orders.new", "group": "g", "ordered": 1}),
    *(("settle", [[{"token": "x", "verb": verb}]]) for verb in ("", "bury", 1)),
    *(("settle", [[{"token": "x", "verb": "nack", "delay": delay}]]) for delay in (-1, 10**400, 1e309, True)),
    ("settle", [[{"verb": "ack"}]]),
    *(("declare", [{"name": name}]) for name in ("", "a b", "a.**.b", "orders.*", 1, "x" * 300)),
    *(("declare", [{"name": "t", "keep_seconds": keep}]) for keep in (0, -1, 10**400, 1e309, True, "1")),
    *(("declare", [{"name": "t", "max_bytes": size}]) for size in (0, -1, True, 1.5, "1")),
    *(("declare", [{"name": "t", "dedupe_seconds": keep}]) for keep in (0, -1, 10**400, True)),
    ("declare", [{"name": "t", "groups": ["a"]}]),
    ("declare", [{"name": "t", "keep_seconds": None}]),
    ("declare", [{"name": "t", "keep_seconds": None, "groups": ["a", "a"]}]),
    ("declare", [{"name": "t", "keep_seconds": None, "groups": [""]}]),
    ("covering", [""]),
    ("covering", ["a.**.b"]),
    *(("seek", ["g", to]) for to in ("", "middle", "-1", "9" * 30, 1, None)),
    *(
        (verb, [group])
        for verb in ("remove_group", "replay", "discard")
        for group in ("", "*", "a b", 1, None)
    ),
    ("replay", ["g", "x"]),
    ("discard", ["g", [1]]),
]


async def state_of(broker: BrokerBackend) -> Any:
    return list(await broker.topics()), list(await broker.groups())


@pytest.mark.parametrize("native", [False, True], ids=["json", "native"])
async def test_odd_values_are_refused_and_change_nothing(
    served: Served, native: bool, caplog: pytest.LogCaptureFixture
) -> None:
    before = await state_of(served.backend)
    for method, arguments in ODD:
        if native:
            positional = [] if isinstance(arguments, dict) else arguments
            named = arguments if isinstance(arguments, dict) else {}
            if "10000000000" in repr(arguments):
                # Beyond the numbers of msgpack.
                continue
            with pytest.raises((FastRPCError, msgspec.MsgspecError)) as caught:
                await served.client.call(f"fastrpc.broker.{method}", *positional, **named)
            status = getattr(caught.value, "status", Status.INVALID_ARGUMENT)
            assert status in {Status.INVALID_ARGUMENT, Status.NOT_FOUND}, (method, arguments, caught.value)
        else:
            code, answer = await served.post(method, arguments)
            assert code in {400, 404, 422}, (method, arguments, answer)
    assert await state_of(served.backend) == before
    assert "Traceback" not in caplog.text
    assert "Bearer" not in caplog.text


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\xff"', b"NaN", b"1e400", b"{}", b"[[[["])
@pytest.mark.parametrize("field", ["topic", "body", "key", "id", "delay"])
async def test_values_that_json_does_not_have_are_refused(served: Served, field: str, text: bytes) -> None:
    values = {"topic": b'"orders.new"', "body": b'""'} | {field: text}
    pairs = b",".join(b'"%s":%s' % (name.encode(), value) for name, value in values.items())
    status, _ = await served.post("publish", b"{%s}" % pairs)
    assert status == 400
    assert (await served.backend.topics())[0].name == "orders.new"


ODD_REQUESTS: list[Any] = [
    {"take": -1},
    {"take": True},
    {"take": "1"},
    {"acks": ["1"]},
    {"settlements": [{"number": 1, "verb": "nack", "delay": -1.0}]},
    {"settlements": [{"number": 1, "verb": "nack", "delay": float("nan")}]},
    {"settlements": [{"number": 1, "verb": "nack", "delay": float("inf")}]},
    {"settlements": [{"number": 1, "verb": "bury"}]},
    "take",
]


@pytest.mark.parametrize("asked", ODD_REQUESTS, ids=repr)
async def test_odd_request_of_a_consumer_ends_it_alone(served: Served, asked: Any) -> None:
    async with served.client.open("fastrpc.broker.consume", "orders.new", "g") as messages:
        await messages.receive()
        await messages.send({"take": 5})
        await published(served, b"1")
        await messages.receive()
        await messages.send(asked)
        with pytest.raises(fastrpc.CallError) as caught:
            await messages.receive()
        assert caught.value.status is Status.INVALID_ARGUMENT
    member = await served.backend.join(GroupSettings("g", "orders.new"))
    (again,) = await member.take(1)
    assert again.delivery == 2


async def test_numbers_that_a_consumer_does_not_hold_are_lost(served: Served) -> None:
    async with served.client.open("fastrpc.broker.consume", "orders.new", "g") as messages:
        await messages.receive()
        await messages.send({"acks": [1, 2, -1, 2**63], "settlements": [{"number": 7, "verb": "reject"}]})
        assert sorted((await messages.receive())["lost"]) == [-1, 1, 2, 7, 2**63]


async def test_consumer_that_joins_while_others_leave_learns_which_messages_it_lost(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, gates = Consumer.close, [asyncio.Event(), asyncio.Event()]
    waiting = iter(gates)
    closing: list[Consumer] = []

    async def close_slowly(self: Consumer) -> None:
        if (gate := next(waiting, None)) is not None:
            closing.append(self)
            await gate.wait()
            closing.remove(self)
        await close(self)

    monkeypatch.setattr(Consumer, "close", close_slowly)

    async with contextlib.AsyncExitStack() as leaving:
        for _ in range(2):
            opened = served.client.open("fastrpc.broker.consume", "orders.new", "g")
            await (await leaving.enter_async_context(opened)).receive()
    await eventually(lambda: len(closing) == 2)
    gates[0].set()
    await eventually(lambda: "g" not in served.service._consumers)
    async with served.client.open("fastrpc.broker.consume", "orders.new", "g") as messages:
        await messages.receive()
        gates[1].set()
        await eventually(lambda: not closing)
        await messages.send({"take": 5})
        await published(served, b"1")
        await messages.receive()
        while (await served.backend.groups())[0].members > 1:
            await asyncio.sleep(0)
        assert served.service._consumers["g"]
        await served.call("seek", "g", "new")
        assert (await messages.receive())["lost"] == [1]


async def test_publisher_is_the_identity_of_the_caller() -> None:
    service = BrokerService()
    async with Server(service, authenticate=TOKENS) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        await service.backend.declare(TopicSettings("orders.new"))
        member = await service.backend.join(GroupSettings("g", "orders.new"))
        async with Client(address, credentials="token-of-shop") as client:
            await client.call("fastrpc.broker.publish", "orders.new", b"1")
            trace = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
            message = {"topic": "orders.new", "body": b"2", "headers": {"a": "b"}, "trace": trace}
            await client.call("fastrpc.broker.publish_many", [message])
        first, second = [*await member.take(1), *await member.take(1)]
        assert (first.publisher, dict(first.headers)) == ("shop", {})
        assert dict(second.headers) == {"a": "b", "frpc-traceparent": trace["traceparent"]}
