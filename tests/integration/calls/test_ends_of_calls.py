"""Every end of every kind of call, by either client: outcome, counts, and that nothing is left."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

import fastrpc
from fastrpc import (
    Call,
    CallError,
    ConnectionLostError,
    DeadlineExceededError,
    DecodeError,
    Endpoint,
    OverloadedError,
    Proceed,
    Server,
    Status,
    current_call,
)
from fastrpc._core.base.histogram import default_registry
from fastrpc._core.client.batch_call import BatchMember
from fastrpc._core.client.client_call import ClientCall
from tests.support.either_client import CLIENTS, connected, taken
from tests.support.served import address_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

SHAPES = ("unary", "batch", "sent", "received", "both")

#: Calls of a batch.
MEMBERS = 3


@fastrpc.service("ends")
class Asked(Protocol):
    """The service as its clients know it."""

    @fastrpc.method
    async def unary(self, end: str) -> int: ...

    @fastrpc.method
    async def sent(self, numbers: AsyncIterator[int], end: str) -> int: ...

    @fastrpc.method
    def received(self, end: str) -> AsyncIterator[int]: ...

    @fastrpc.method
    def both(self, numbers: AsyncIterator[int], end: str) -> AsyncIterator[int]: ...


@fastrpc.service("ends")
class Ends:
    """The plain service: each call ends as it asks for."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def end(self, end: str) -> Any:
        self.entered.set()
        if end == "error":
            raise CallError(Status.NOT_FOUND, "as asked")
        if end == "odd":
            return "no number"
        if end == "lost":
            current_call().connection.engine.abort()  # type: ignore[attr-defined]
        if end != "answer":
            await self.may_answer.wait()
        return 1

    @fastrpc.method
    async def unary(self, end: str) -> Any:
        return await self.end(end)

    @fastrpc.method
    async def sent(self, numbers: AsyncIterator[int], end: str) -> Any:
        assert [number async for number in numbers] == [5]
        return await self.end(end)

    @fastrpc.method
    async def received(self, end: str) -> AsyncIterator[Any]:
        yield 0
        yield await self.end(end)

    @fastrpc.method
    async def both(self, numbers: AsyncIterator[int], end: str) -> AsyncIterator[Any]:
        async for number in numbers:
            yield number
        yield await self.end(end)


#: The answer of each shape.
ANSWERS = {"unary": 1, "batch": [1] * MEMBERS, "sent": 1, "received": [0, 1], "both": [5, 1]}


async def use(client: Any, shape: str, end: str) -> Any:
    """Make a call of a shape and return its answer, messages in a list."""
    if shape == "unary":
        return await client.call(Asked.unary, end)
    if shape == "batch":
        return await client.call_many(Asked.unary, [(end,)] * MEMBERS)
    if shape == "received":
        async with client.stream(Asked.received, end) as stream:
            return await taken(stream)
    async with client.open(getattr(Asked, shape), end) as stream:
        await stream.send(5)
        await stream.end()
        return await (stream.receive() if shape == "sent" else taken(stream))


@pytest.fixture(autouse=True)
def _little_to_look_at() -> None:
    """Exclude objects of earlier tests from the collections of this test, which looks for its calls."""
    gc.collect()
    gc.freeze()


class Books:
    """The counts of the calls of a shape since this was made."""

    def __init__(self, client: Any, shape: str) -> None:
        self._client = client
        self._counters = default_registry.counters(f"ends.{'unary' if shape == 'batch' else shape}", "client")
        self._calls, self._totals = self._read()
        #: Calls that tests before this one left in tracebacks; kept, so that no other call has their place.
        self._former = calls_alive()

    def _read(self) -> tuple[dict[str, int], dict[str, int]]:
        totals = self._client.stats()["totals"]
        return dict(self._counters.snapshot()["calls"]), {"OK": totals["succeeded"], **totals["failed"]}

    def grown(self) -> list[dict[str, int]]:
        """Return by status how many calls ended, as the method and as the client counts them."""
        return [
            {name: count - before.get(name, 0) for name, count in now.items() if count != before.get(name, 0)}
            for before, now in zip((self._calls, self._totals), self._read(), strict=True)
        ]

    def in_flight(self) -> int:
        return int(self._counters.in_flight)

    def calls_left(self) -> list[ClientCall]:
        """Return the calls that live, but for those that did before."""
        former = set(map(id, self._former))
        return [one for one in calls_alive() if id(one) not in former]


def calls_alive() -> list[ClientCall]:
    """Return the calls of this process; a batch keeps members for the next one, which do not count."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, ClientCall) and type(one) is not BatchMember]


class Watched:
    """A selector of a program: it takes the first endpoint, and notes each outcome that it gets."""

    def __init__(self) -> None:
        self.endpoints: Sequence[Endpoint] = ()
        self.picked: list[Endpoint] = []
        self.observed: list[Exception | None] = []

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = endpoints

    def pick(self, call: Any) -> Endpoint:
        self.picked.append(self.endpoints[0])
        return self.endpoints[0]

    def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
        self.observed.append(error)


@dataclass
class Place:
    """A server, its client, and the calls that the client's interceptor saw."""

    client: Any
    server: Server
    ends: Ends
    seen: list[Any]
    #: For each end: whether the call had time left.
    early: list[bool]
    refuses: list[bool]
    is_intercepted: bool
    selector: Watched | None

    @property
    def core(self) -> Any:
        """The client itself."""
        return getattr(self.client, "client", self.client)

    async def close(self) -> None:
        """Close the client."""
        if self.core is self.client:
            await self.core.close()
        else:
            await asyncio.to_thread(self.core.close)


#: How calls go: at once, through an interceptor, with a choice between endpoints, both, or as a selector of ours says.
WAYS = ("plain", "intercepted", "chosen", "chosen-intercepted", "watched")


@asynccontextmanager
async def place(kind: str, way: str, scheme: str) -> AsyncIterator[Place]:
    ends, seen, early, refuses = Ends(), list[Any](), list[bool](), [False]

    async def gatekeeper(call: Call, proceed: Proceed) -> Any:
        if refuses[0]:
            raise CallError(Status.RESOURCE_EXHAUSTED, "not now")
        return await proceed(call)

    async def note(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            seen.append(call.status)
            remaining = call.remaining()
            early.append(remaining is None or remaining > 0)

    options: dict[str, Any] = {"fail_mode": "failfast"}
    selector = options["selector"] = Watched() if way == "watched" else None
    if "intercepted" in way:
        options["interceptors"] = [note]
    with address_of(scheme) as one, address_of(scheme) as other:
        async with Server(ends, interceptors=[gatekeeper]) as server:
            addresses = [await server.listen(address) for address in (one, other)]
            target: Any = addresses if "chosen" in way or selector else addresses[0]
            async with connected(kind, target, **options) as client:
                is_intercepted = bool(options.get("interceptors"))
                yield Place(client, server, ends, seen, early, refuses, is_intercepted, selector)
                ends.may_answer.set()
            await eventually(lambda: not server.stats()["live"]["calls"])


def goes_singly(there: Place, shape: str) -> bool:
    """Return whether a thread makes the calls of a batch one after the other, as interceptors stand around each."""
    return shape == "batch" and there.is_intercepted and there.core is not there.client


async def entered(there: Place, call: asyncio.Future[Any]) -> None:
    """Wait until a handler of a call has begun; a call that ends before it raises its error."""
    entering = asyncio.ensure_future(there.ends.entered.wait())
    await asyncio.wait([entering, call], return_when=asyncio.FIRST_COMPLETED)
    if not entering.done():
        entering.cancel()
        raise AssertionError(f"no handler has begun: {await call!r}")


async def failed(call: Awaitable[Any]) -> BaseException:
    try:
        value = await call
    except BaseException as error:
        return error.with_traceback(None)
    raise AssertionError(f"the call returned {value!r}")


def left_of(there: Place, books: Books) -> list[Any]:
    """Return the records of the calls that are left in counters, connections, the endpoint set and memory."""
    stats = there.core.stats()
    found: list[Any] = [
        books.in_flight(),
        stats["live"]["calls"],
        stats["live"]["waiting"],
        stats["buffered"],
    ]
    endpoint_set = there.core._pool.endpoint_set
    if endpoint_set is not None:
        found += [state.in_flight for state in endpoint_set.endpoint_states]
    return [one for one in [*found, *books.calls_left()] if one]


async def nothing_is_left(there: Place, books: Books) -> None:
    """Check that nothing holds anything of the calls, once the server has confirmed the end of those given up."""
    await eventually(lambda: not there.core.stats()["live"]["calls"] and not there.core.stats()["buffered"])
    try:
        await eventually(lambda: not left_of(there, books))
    except TimeoutError:
        raise AssertionError(left_of(there, books)) from None


async def meet(
    there: Place,
    shape: str,
    made: Callable[[Any], Awaitable[Any]],
    wanted: Any,
    count: Callable[[], int] | None = None,
) -> None:
    """Make a call and check its end: `wanted` is the kind of its error, its status, and `processed`.

    Args:
        count: returns how many calls were made; of a batch all, if left out.
    """
    books = Books(there.client, shape)
    kind, status, processed = wanted
    error = await failed(made(there.client)) if kind is not None else None
    if kind is None:
        assert await made(there.client) == ANSWERS[shape]
    else:
        assert type(error) is kind
    if isinstance(error, fastrpc.FastRPCError):
        assert error.status == status
        assert error.processed in processed if isinstance(processed, tuple) else error.processed == processed
    size = count() if count is not None else MEMBERS if shape == "batch" else 1
    assert books.grown() == [{status.name: size}] * 2
    if there.is_intercepted:
        assert there.seen == [status] * size
    if there.selector is not None:
        # Each pick is concluded once, one that found no connection too.
        assert len(there.selector.observed) == len(there.selector.picked) > 0
    del error
    await nothing_is_left(there, books)


CASES = [(kind, shape) for kind in CLIENTS for shape in SHAPES]
PLACES = [(way, "memory") for way in WAYS] + [("plain", "tcp")]


@pytest.fixture(params=PLACES, ids="-".join)
def where(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        ("answer", (None, Status.OK, "yes")),
        ("error", (CallError, Status.NOT_FOUND, "yes")),
        ("odd", (DecodeError, Status.INTERNAL, "yes")),
        ("lost", (ConnectionLostError, Status.UNAVAILABLE, "unknown")),
    ],
    ids=["answer", "error", "odd", "lost"],
)
async def test_the_handler_ends_it(
    case: tuple[str, str], where: tuple[str, str], end: str, wanted: Any
) -> None:
    kind, shape = case
    async with place(kind, *where) as there:
        await meet(there, shape, lambda client: use(client, shape, end), wanted)


async def test_a_call_that_an_overloaded_server_refuses_never_starts(
    case: tuple[str, str], where: tuple[str, str]
) -> None:
    kind, shape = case
    async with place(kind, *where) as there:
        there.refuses[0] = True
        wanted = OverloadedError, Status.RESOURCE_EXHAUSTED, "no"
        await meet(there, shape, lambda client: use(client, shape, "answer"), wanted)


async def test_its_time_ends(case: tuple[str, str], where: tuple[str, str]) -> None:
    kind, shape = case
    async with place(kind, *where) as there:
        view = there.client.with_options(timeout=0.3)
        # "no": the machine stalled in front of the handler.
        wanted = DeadlineExceededError, Status.DEADLINE_EXCEEDED, ("unknown", "no")

        def made_singly() -> int:
            """Return 1, or one more for each call in order that left time for the next.

            A server counts the time of a call from when its socket was last known to be empty, so after a stall it may
            end one before the client does.
            """
            left = itertools.takewhile(bool, there.early[: len(there.seen) - 1])
            return 1 + len(list(left))

        count = made_singly if goes_singly(there, shape) else None
        await meet(there, shape, lambda _: use(view, shape, "wait"), wanted, count)


async def test_the_client_closes(case: tuple[str, str], where: tuple[str, str]) -> None:
    kind, shape = case
    async with place(kind, *where) as there:

        async def closed(client: Any) -> Any:
            call = asyncio.ensure_future(use(client, shape, "wait"))
            await entered(there, call)
            await there.close()
            return await call

        await meet(there, shape, closed, (ConnectionLostError, Status.UNAVAILABLE, "unknown"))


async def test_the_server_drains(case: tuple[str, str], where: tuple[str, str]) -> None:
    kind, shape = case
    async with place(kind, *where) as there:
        if goes_singly(there, shape):
            pytest.skip("behind the first call of the batch there is no server")

        async def drained(client: Any) -> Any:
            call = asyncio.ensure_future(use(client, shape, "wait"))
            await entered(there, call)
            drain = asyncio.ensure_future(there.server.drain(timeout=10))
            await eventually(lambda: there.server.is_draining)
            there.ends.may_answer.set()
            value = await call
            await drain
            return value

        await meet(there, shape, drained, (None, Status.OK, "yes"))


async def test_the_server_has_gone(case: tuple[str, str], where: tuple[str, str]) -> None:
    kind, shape = case
    async with place(kind, *where) as there:
        await there.server.close()
        wanted = fastrpc.ConnectError, Status.UNAVAILABLE, "no"
        await meet(there, shape, lambda client: use(client, shape, "answer"), wanted)


@pytest.mark.parametrize("shape", ["unary", "batch"])
async def test_its_task_is_cancelled(shape: str, where: tuple[str, str]) -> None:
    async with place("async", *where) as there:

        async def cancelled(client: Any) -> Any:
            call = asyncio.ensure_future(use(client, shape, "wait"))
            await entered(there, call)
            call.cancel()
            return await call

        await meet(there, shape, cancelled, (asyncio.CancelledError, Status.CANCELLED, None))


class LeftError(Exception):
    """The program leaves the block of a stream."""


@pytest.mark.parametrize("shape", ["sent", "received", "both"])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_its_stream_is_left_early(kind: str, shape: str, where: tuple[str, str]) -> None:
    async with place(kind, *where) as there:

        async def left(client: Any) -> Any:
            if shape == "received":
                async with client.stream(Asked.received, "wait") as stream:
                    assert await stream.receive() == 0
                    raise LeftError
            async with client.open(getattr(Asked, shape), "wait") as stream:
                await stream.send(5)
                if shape == "both":
                    assert await stream.receive() == 5
                raise LeftError

        await meet(there, shape, left, (LeftError, Status.CANCELLED, None))
        assert not there.ends.entered.is_set() or shape == "received"
