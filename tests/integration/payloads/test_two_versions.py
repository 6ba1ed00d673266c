"""A client and a server with two versions of one class: nothing is exchanged silently."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

import fastrpc
from fastrpc import CallError, Client, ClientConfig, Limits, ServerConfig, Status, SyncClient
from fastrpc.testing import serving
from tests.support.frame_factory import cut, opening
from tests.support.raw_peer import RawPeer, raw_client
from tests.support.served import SCHEMES, served
from tests.support.wire_frames import Goaway, Request, Response
from tests.support.wire_layout import FLAG_ONE_WAY, Reason
from tests.support.wire_names import names_told

pytestmark = pytest.mark.one_loop

_numbers = itertools.count()

#: A server whose peers have a small budget.
FEW_CALLS = ServerConfig(limits=Limits(concurrent_calls=100))

#: The text for a reader if the caller's class has source and target the other way round.
DIFFERENT = (
    "bank.transfer: other parameter names: the server has (target, source, cents, note),"
    " this client (source, target, cents, note)"
)


@fastrpc.service("bank")
class Old(Protocol):
    """The clients' version."""

    @fastrpc.method(idempotent=True)
    async def transfer(self, source: str, target: str, cents: int = 0, *, note: str = "") -> str: ...

    @fastrpc.method(idempotent=True)
    async def pair(self, left: str = "l", right: str = "r") -> str: ...

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes: ...


class Counting:
    def __init__(self) -> None:
        self.ran: list[str] = []

    def note(self, text: str) -> str:
        self.ran.append(text)
        return text


@fastrpc.service("bank")
class New(Counting):
    """The server's version."""

    @fastrpc.method(idempotent=True)
    async def transfer(self, target: str, source: str, cents: int = 0, *, note: str = "") -> str:
        return self.note(f"{source} to {target}: {cents}{note}")

    @fastrpc.method(idempotent=True)
    def pair(self, left: str = "l", middle: str = "m") -> str:
        return self.note(f"{left} {middle}")

    @fastrpc.method(codec="raw")
    async def echo(self, blob: bytes) -> bytes:
        return blob


@fastrpc.service("bank")
class Keeping(Counting):
    """A server's version that keeps the old names."""

    @fastrpc.method(idempotent=True, renamed={"source": "payer", "target": "payee", "note": "text"})
    async def transfer(self, payer: str, payee: str, cents: int = 0, *, text: str = "") -> str:
        return self.note(f"{payer} to {payee}: {cents}{text}")

    @fastrpc.method(renamed={"left": "first"})
    async def pair(self, first: str = "l", right: str = "r") -> str:
        return self.note(f"{first} {right}")


#: Ways to make one call by which the arguments would arrive exchanged.
Verb = Callable[[Any], Awaitable[Any]]
WAYS: dict[str, Verb] = {
    "by position": lambda client: client.call(Old.transfer, "me", "you", 1),
    "by name": lambda client: client.call(Old.transfer, source="me", target="you", cents=1),
    "by both": lambda client: client.call(Old.transfer, "me", target="you"),
    "one of them": lambda client: client.call(Old.transfer, "me", "you"),
    "with a name alone": lambda client: client.call(Old.transfer, "me", "you", note="!"),
    "request": lambda client: client.request(Old.transfer, "me", "you"),
    "batch": lambda client: client.call_many(Old.transfer, [("me", "you"), ("a", "b", 2)]),
    "fork": lambda client: client.fork(Old.transfer, "me", "you"),
    "proxy": lambda client: client.bind(Old).transfer("me", "you"),
    "json": lambda client: client.with_options(codec="json").call(Old.transfer, "me", "you", note="!"),
    "compressed": lambda client: client.with_options(compressor="gzip").call(
        Old.transfer, "m" * 9_000, "you"
    ),
    "in pieces": lambda client: client.call(Old.transfer, "m" * 600_000, "you"),
    "long": lambda client: client.call(Old.transfer, "m" * 40_000, "you"),
    "a hole": lambda client: client.call(Old.pair, right="you"),
}


def check_refused(error: CallError) -> None:
    assert error.status is Status.INVALID_ARGUMENT
    assert (error.processed, error.retryable) == ("no", False)
    if error.message.startswith("bank.transfer"):
        assert error.message == DIFFERENT
    else:
        assert error.message == (
            "bank.pair: other parameter names: the server has (left, middle), this client (left, right)"
        )
    assert "renamed" in str(error)


async def passing(call: Any, proceed: Any) -> Any:
    return await proceed(call)


@asynccontextmanager
async def connected_to(service: Any, scheme: str, **options: Any) -> AsyncIterator[Client]:
    async with served(service, scheme=scheme) as target, Client(target, **options) as client:
        yield client


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_exchanged_arguments_are_refused(scheme: str) -> None:
    service = New()
    for way, call in WAYS.items():
        # The first call of a connection goes another way than later ones, so each has its own.
        async with connected_to(service, scheme) as client:
            with pytest.raises(CallError) as caught:
                await call(client)
            check_refused(caught.value)
            totals = client.stats()["totals"]
        assert service.ran == [], way
        assert totals["retries"] == 0, way


@pytest.mark.parametrize("side", ["client", "server"])
async def test_interceptors_do_not_affect_the_comparison_of_names(side: str) -> None:
    service, seen = New(), []

    async def looking(call: Any, proceed: Any) -> Any:
        seen.append(call.method)
        return await proceed(call)

    here = [looking]
    async with (
        served(service, interceptors=here if side == "server" else ()) as target,
        Client(target, interceptors=here if side == "client" else ()) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.call(Old.transfer, "me", "you")
        check_refused(caught.value)
    assert (seen, service.ran) == ([] if side == "server" else ["bank.transfer"], [])


async def test_the_calls_of_a_batch_have_separate_outcomes() -> None:
    service = New()
    async with connected_to(service, "tcp") as client:
        outcomes = await client.call_many(Old.pair, [("a",), (), ("a", "b")], return_exceptions=True)
    assert outcomes[:2] == ["a m", "l m"]
    check_refused(outcomes[2])


async def test_each_endpoint_of_a_broadcast_compares_the_names() -> None:
    async with (
        served(New(), scheme="tcp") as first,
        served(Keeping(), scheme="tcp") as second,
        Client([str(first), str(second)]) as client,
    ):
        found = await client.broadcast(Old.transfer, "me", "you")
    outcomes = {str(endpoint.address): outcome for endpoint, outcome in found.items()}
    check_refused(outcomes[first])
    assert outcomes[second].value == "me to you: 0"


@pytest.mark.parametrize("fail_mode", ["failfast", "failover", "failtry", "failbackup"])
async def test_no_fail_mode_tries_again(fail_mode: str) -> None:
    async with (
        served(New(), scheme="tcp") as first,
        served(New(), scheme="tcp") as second,
        Client([str(first), str(second)], fail_mode=fail_mode) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.call(Old.transfer, "me", "you")
        check_refused(caught.value)
        assert client.stats()["totals"]["retries"] == 0


async def test_a_notification_is_dropped_and_counted() -> None:
    service = New()
    async with served(service) as target, Client(target) as client:
        await client.notify(Old.transfer, "me", "you")
        # A later call on the same connection: once it is answered, both requests have been read.
        assert await client.call(New.transfer, "a", "b") == "b to a: 0"
        (session,) = target.server._gate.engines
        assert (session.callee.dropped_one_way, session.callee.one_way_calls) == (1, 0)
    assert service.ran == ["b to a: 0"]


async def test_calls_that_send_no_names_are_accepted_as_before() -> None:
    async with connected_to(New(), "tcp") as client:
        assert await client.call("bank.transfer", "me", "you") == "you to me: 0"
        assert await client.call("bank.transfer", source="me", target="you") == "me to you: 0"
        by_names = client.with_options(codec="json")
        assert await by_names.call("bank.transfer", source="me", target="you") == "me to you: 0"
        assert await client.call(Old.echo, b"untouched") == b"untouched"
        assert await client.call(Old.pair) == "l m"


async def test_names_that_agree_as_far_as_arguments_go_are_enough() -> None:
    async with connected_to(New(), "tcp") as client:
        assert await client.call(Old.pair, "a") == "a m"
        assert await client.call(Old.pair, left="a") == "a m"


async def test_more_positions_than_the_server_has_are_too_many_arguments() -> None:
    @fastrpc.service("bank")
    class Longer(Protocol):
        @fastrpc.method
        async def pair(self, left: str, right: str, third: str) -> str: ...

    async with connected_to(New(), "tcp") as client:
        with pytest.raises(CallError, match=r"takes 0 to 2 arguments \(left, middle\), got 3") as caught:
            await client.call(Longer.pair, "a", "b", "c")
    assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_old_names_that_are_kept_are_taken(scheme: str) -> None:
    async with connected_to(Keeping(), scheme) as client:
        assert await client.call(Old.transfer, "me", "you", 1) == "me to you: 1"
        assert await client.call(Old.transfer, target="you", source="me", note="!") == "me to you: 0!"
        assert await client.call_many(Old.pair, [("a", "b"), ("c",)]) == ["a b", "c r"]
        assert await client.call(Keeping.transfer, payer="me", payee="you") == "me to you: 0"
        for codec in ("msgpack", "json"):
            view = client.with_options(codec=codec)
            assert await view.call("bank.transfer", source="me", target="you", note="!") == "me to you: 0!"
            assert await view.call("bank.transfer", payer="me", target="you") == "me to you: 0"
            assert await view.call(Old.pair, right="b") == "l b"


async def test_a_parameter_given_by_both_its_names_is_refused() -> None:
    async with connected_to(Keeping(), "tcp") as client:
        with pytest.raises(CallError, match="payer: given by position and by name, or by two names"):
            await client.call("bank.transfer", source="me", payer="me", target="you")


async def test_other_names_than_those_kept_are_refused_with_both_lists() -> None:
    @fastrpc.service("bank")
    class Strange(Protocol):
        @fastrpc.method
        async def transfer(self, target: str, source: str) -> str: ...

    async with connected_to(Keeping(), "tcp") as client:
        with pytest.raises(CallError) as caught:
            await client.call(Strange.transfer, "you", "me")
    assert caught.value.message == (
        "bank.transfer: other parameter names: the server has (payer, payee, cents, text),"
        " this client (target, source)"
    )


async def test_a_contract_and_its_implementation_may_have_different_names() -> None:
    @fastrpc.service("ledger")
    class Contract(Protocol):
        @fastrpc.method
        async def book(self, account: str, amount: int) -> str: ...

    class Ledger(Contract):
        async def book(self, name: str, value: int) -> str:
            return f"{name}: {value}"

    async with connected_to(Ledger(), "tcp") as client:
        assert await client.call(Contract.book, account="cash", amount=3) == "cash: 3"
        assert await client.call(Ledger.book, "cash", 3) == "cash: 3"


# The client without a loop


@pytest.fixture(params=SCHEMES)
def sync_client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[New, SyncClient]]:
    service = New()
    address = {
        "tcp": "tcp://127.0.0.1:0",
        "unix": f"unix://{tmp_path / 'socket'}",
        "memory": f"memory://versions-{next(_numbers)}",
    }[request.param]
    with serving(service, address=address) as target, SyncClient(target) as client:
        yield service, client


@pytest.mark.parametrize("way", WAYS)
def test_exchanged_arguments_are_refused_without_a_loop(
    way: str, sync_client: tuple[New, SyncClient]
) -> None:
    service, client = sync_client
    with pytest.raises(CallError) as caught:
        WAYS[way](client)
    check_refused(caught.value)
    assert service.ran == []
    assert client.stats()["totals"]["retries"] == 0


def test_a_blocking_batch_tells_the_names_of_each_call(sync_client: tuple[New, SyncClient]) -> None:
    outcomes = sync_client[1].call_many(Old.pair, [("a",), (), ("a", "b")], return_exceptions=True)
    assert outcomes[:2] == ["a m", "l m"]
    check_refused(outcomes[2])


def test_a_blocking_notification_is_dropped(sync_client: tuple[New, SyncClient]) -> None:
    service, client = sync_client
    client.notify(Old.transfer, "me", "you")
    assert client.call(New.pair, "a", "b") == "a b"
    assert service.ran == ["a b"]


@pytest.mark.parametrize("early_calls", ["all", "none"])
def test_early_calls_are_no_exception(early_calls: str) -> None:
    service = New()
    config = ClientConfig(early_calls=early_calls)
    with serving(service) as target, SyncClient(target, config=config, interceptors=[passing]) as client:
        with pytest.raises(CallError) as caught:
            client.call(Old.transfer, "me", "you")
        check_refused(caught.value)
    assert service.ran == []


# Peers that write their frames themselves


@asynccontextmanager
async def raw_peer(service: Any) -> AsyncIterator[RawPeer]:
    async with served(service, scheme="tcp") as target, raw_client(str(target)) as peer:
        peer.send(opening(False))
        yield peer


def transfer(id: int, names: int, *, flags: int = 0) -> Request:
    payload = msgspec.msgpack.encode(("you", "me", 1))
    return Request(id, b"bank.transfer", payload, codec=1, names=names, flags=flags)


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (names_told(("target", "source", "cents")), 0),
        (0, 0),
        (0xFFFF_FFFF_FFFF_FF00, 0),
        (names_told(("source", "target", "cents")), 3),
        (names_told(("target",)), 0),
        (names_told(("source",)), 3),
        (names_told(("target", "source", "cents", "note", "x")), 3),
        (0xFFFF_FFFF_FFFF_FFFF, 3),
        (3, 3),
        (names_told(("target", "source", "cents")) ^ 1 << 63, 3),
    ],
)
async def test_a_server_compares_the_names_that_any_peer_sends(names: int, status: int) -> None:
    service = New()
    async with raw_peer(service) as peer:
        peer.send(transfer(1, names).encode())
        response = await peer.next(Response)
    assert (response.status, response.outcome) == (status, 1 if status else 0)
    assert service.ran == ([] if status else ["me to you: 1"])


async def test_a_longer_head_and_pieces_are_read_in_the_same_way() -> None:
    service = New()
    exchanged = names_told(("source", "target", "cents"))
    async with raw_peer(service) as peer:
        whole = transfer(1, exchanged).encode()
        # One word more, as a later version may send: length, head_words, and eight bytes after the names.
        longer = bytearray(whole[:40] + bytes(8) + whole[40:])
        longer[0] += 8
        longer[16] = 4
        peer.send(bytes(longer))
        assert (await peer.next(Response)).status == 3
        for name, status in (("target", 0), ("source", 3)):
            payload = msgspec.msgpack.encode(("y" * 3_000, "me", 1))
            call = Request(3 + 2 * status, b"bank.transfer", payload, codec=1, names=names_told((name,)))
            peer.send(*cut(call, 1_000))
            assert (await peer.next(Response)).status == status
    assert len(service.ran) == 1


async def test_one_way_calls_of_any_peer_are_dropped() -> None:
    service = New()
    exchanged = names_told(("source", "target", "cents"))
    async with raw_peer(service) as peer:
        peer.send(*(transfer(1 + 2 * n, exchanged, flags=FLAG_ONE_WAY).encode() for n in range(5)))
        peer.send(transfer(11, 0).encode())
        response = await peer.next(Response)
        assert [frame for frame in peer.frames if isinstance(frame, Response)] == [response]
    assert response.id == 11
    assert service.ran == ["me to you: 1"]


@pytest.mark.parametrize("flags", [0, FLAG_ONE_WAY])
async def test_a_peer_that_sends_nothing_else_is_asked_to_calm_down(flags: int) -> None:
    exchanged = names_told(("source", "target", "cents"))
    one = transfer(1, exchanged, flags=flags).encode()
    # More than the budget of idle work has, and gets while they are read.
    flood = b"".join(one[:8] + (2 * n + 1).to_bytes(8, "little") + one[16:] for n in range(60_000))
    async with served(New(), scheme="tcp", config=FEW_CALLS) as target, raw_client(str(target)) as peer:
        peer.send(opening(False), flood)
        assert (await peer.next(Goaway)).reason == Reason.CALM_DOWN
