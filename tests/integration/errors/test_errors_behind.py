"""An error of a call that a handler made, when the handler lets it through."""

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ConfigError,
    ConnectError,
    DeadlineExceededError,
    FastRPCError,
    Interceptor,
    Proceed,
    ServerConfig,
    Status,
    SyncClient,
    UnavailableError,
)
from fastrpc.testing import serving
from tests.support.served import served

# A handler that calls a SyncClient on the loop is warned of it; its error is reported like any other.
pytestmark = [pytest.mark.one_loop, pytest.mark.filterwarnings("ignore:a SyncClient blocks:RuntimeWarning")]

SECRETS = ("swordfish", "inner", "behind")

#: Statuses that a caller gets unchanged.
PASSED_ON = (Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED, Status.CANCELLED)


@fastrpc.service("behind")
class Behind:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method
    async def refuse(self, status: int, retry_after: float | None = None) -> int:
        self.ran += 1
        fastrpc.current_call().reply_metadata["inner"] = "swordfish"
        raise CallError(Status(status), "swordfish", details={"inner": 1}, retry_after=retry_after)

    @fastrpc.method
    async def number(self, value: int) -> int:
        return "inner text"  # type: ignore[return-value]


@fastrpc.service("front")
class Front:
    """Lets through the outcome of a client that it uses, in every way there is."""

    def __init__(self, behind: Client, sync: SyncClient | None = None) -> None:
        self.behind = behind
        self.sync = sync

    @fastrpc.method
    async def plainly(self, status: int) -> int:
        return await self.behind.call(Behind.refuse, status)

    @fastrpc.method
    async def by_name(self, status: int) -> int:
        result: int = await self.behind.call("behind.refuse", status)
        return result

    @fastrpc.method
    async def requested(self, status: int) -> int:
        return (await self.behind.request(Behind.refuse, status)).value

    @fastrpc.method
    async def later(self, status: int) -> int:
        await asyncio.sleep(0)
        return await self.behind.call(Behind.refuse, status)

    @fastrpc.method
    async def raised_again(self, status: int) -> int:
        try:
            return await self.behind.call(Behind.refuse, status)
        except CallError:
            raise

    @fastrpc.method
    async def kept(self, status: int) -> int:
        kept: list[CallError] = []
        try:
            await self.behind.call(Behind.refuse, status)
        except CallError as error:
            kept.append(error)
        await asyncio.sleep(0)
        raise kept[0]

    @fastrpc.method
    async def copied(self, status: int) -> int:
        try:
            return await self.behind.call(Behind.refuse, status)
        except CallError as error:
            raise copy.copy(error) from None

    @fastrpc.method
    async def pickled(self, status: int) -> int:
        try:
            return await self.behind.call(Behind.refuse, status)
        except CallError as error:
            raise pickle.loads(pickle.dumps(error)) from None

    @fastrpc.method
    async def gathered(self, status: int) -> int:
        calls = [self.behind.call(Behind.refuse, status) for _ in range(2)]
        return sum(await asyncio.gather(*calls))

    @fastrpc.method
    async def gathered_as_values(self, status: int) -> int:
        found = await asyncio.gather(self.behind.call(Behind.refuse, status), return_exceptions=True)
        assert isinstance(found[0], BaseException)
        raise found[0]

    @fastrpc.method
    async def grouped(self, status: int) -> int:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(self.behind.call(Behind.refuse, status))
        return 1

    @fastrpc.method
    async def batched(self, status: int) -> int:
        return sum(await self.behind.call_many(Behind.refuse, [(status,), (status,)]))

    @fastrpc.method
    async def batched_as_values(self, status: int) -> int:
        found: Any = await self.behind.call_many(Behind.refuse, [(status,)], return_exceptions=True)
        raise found[0]

    @fastrpc.method
    async def forked(self, status: int) -> int:
        return await self.behind.fork(Behind.refuse, status)

    @fastrpc.method
    async def broadcast(self, status: int) -> int:
        (found,) = (await self.behind.broadcast(Behind.refuse, status)).values()
        assert isinstance(found, FastRPCError)
        raise found

    @fastrpc.method
    async def bound(self, status: int) -> int:
        return await self.behind.bind(Behind).refuse(status)  # type: ignore[type-var]

    @fastrpc.method
    def threaded(self, status: int) -> int:
        assert self.sync is not None
        return self.sync.call("behind.refuse", status)  # type: ignore[no-any-return]

    @fastrpc.method
    def threaded_batch(self, status: int) -> int:
        assert self.sync is not None
        found: Any = self.sync.call_many("behind.refuse", [(status,)], return_exceptions=True)
        raise found[0]

    @fastrpc.method
    def threaded_first_of_batch(self, status: int) -> int:
        assert self.sync is not None
        self.sync.call_many("behind.refuse", [(status,)])
        return 1

    @fastrpc.method
    def threaded_broadcast(self, status: int) -> int:
        assert self.sync is not None
        (found,) = self.sync.broadcast("behind.refuse", status).values()
        assert isinstance(found, FastRPCError)
        raise found

    @fastrpc.method
    def threaded_fork(self, status: int) -> int:
        assert self.sync is not None
        return self.sync.fork("behind.refuse", status)  # type: ignore[no-any-return]

    @fastrpc.method(inline=True)
    def inline(self, status: int) -> int:
        assert self.sync is not None
        return self.sync.call("behind.refuse", status)  # type: ignore[no-any-return]

    # Written out, and other errors

    @fastrpc.method
    async def written_out(self, status: int) -> int:
        try:
            return await self.behind.call(Behind.refuse, status)
        except CallError as error:
            raise CallError(error.status, error.message) from error

    @fastrpc.method
    async def from_it(self, status: int) -> int:
        try:
            return await self.behind.call(Behind.refuse, status)
        except CallError as error:
            raise ValueError("swordfish") from error

    @fastrpc.method
    async def mine(self) -> int:
        raise CallError(Status.NOT_FOUND, "my own", details=5)

    @fastrpc.method
    async def unencodable(self) -> int:
        return await self.behind.call(Behind.number, object())  # type: ignore[arg-type]

    @fastrpc.method
    async def undecodable(self) -> int:
        return await self.behind.call(Behind.number, 1)

    @fastrpc.method
    async def unreachable(self) -> int:
        async with Client("memory://nobody-behind") as nobody:
            return await nobody.call(Behind.number, 1)

    @fastrpc.method
    def unreachable_threaded(self) -> int:
        with SyncClient("unix:///nowhere/inner") as nobody:
            return nobody.call(Behind.number, 1)  # type: ignore[return-value]

    @fastrpc.method
    async def misused(self) -> int:
        return await self.behind.call("no name")  # type: ignore[no-any-return]


#: The methods that let the error of a call through.
WAYS = [
    name
    for name, way in vars(Front).items()
    if "status" in getattr(way, "__annotations__", {}) and name not in {"written_out", "from_it"}
]


async def plain(call: fastrpc.Call, proceed: Proceed) -> Any:
    return await proceed(call)


@pytest.fixture(scope="module")
def sync_behind() -> Iterator[SyncClient]:
    with serving(Behind) as address, SyncClient(address) as client:
        yield client


@pytest.fixture(params=["bare", "intercepted", "intercepted client", "tcp"])
async def front(request: pytest.FixtureRequest, sync_behind: SyncClient) -> AsyncIterator[Client]:
    interceptors: list[Interceptor] = [plain] if request.param == "intercepted" else []
    inner: list[Interceptor] = [plain] if request.param == "intercepted client" else []
    scheme = "tcp" if request.param == "tcp" else "memory"
    async with (
        served(Behind, scheme=scheme) as behind,
        Client(behind, interceptors=inner) as client,
        served(Front(client, sync_behind), scheme=scheme, interceptors=interceptors) as target,
        Client(target) as front,
    ):
        yield front


def check_says_nothing(error: FastRPCError) -> None:
    assert not any(secret in f"{error} {error.hint}" for secret in SECRETS)
    assert getattr(error, "details", None) is None
    assert getattr(error, "retry_after", None) is None


@pytest.mark.parametrize("status", [Status.UNAVAILABLE, Status.CANCELLED])
async def test_a_nested_failure_that_is_no_fault_keeps_its_status(
    front: Client, status: Status, caplog: pytest.LogCaptureFixture
) -> None:
    for way in WAYS:
        caplog.clear()
        with pytest.raises(CallError) as failed:
            await front.call(f"front.{way}", int(status))
        error = failed.value
        assert error.message == f"front.{way}: a call it made failed ({status.name})"
        assert (error.status, error.processed, error.retryable) == (status, "yes", False)
        check_says_nothing(error)
        assert "swordfish" in caplog.text, way


@pytest.mark.parametrize("status", [Status.PERMISSION_DENIED, Status.NOT_FOUND])
async def test_every_other_status_is_a_crash(
    front: Client, status: Status, caplog: pytest.LogCaptureFixture
) -> None:
    for way in WAYS:
        caplog.clear()
        with pytest.raises(CallError) as failed:
            await front.call(f"front.{way}", int(status))
        error = failed.value
        assert (error.status, error.processed, error.retryable) == (Status.INTERNAL, "yes", False), way
        check_says_nothing(error)
        identifiers = [getattr(record, "error_id", None) for record in caplog.records]
        assert any(identifier and identifier in str(error) for identifier in identifiers), way
        assert "swordfish" in caplog.text, way


async def test_each_status_is_passed_on_or_hidden(front: Client) -> None:
    for status in set(Status) - {Status.OK}:
        with pytest.raises(FastRPCError) as failed:
            await front.call(Front.plainly, int(status))
        hidden = Status.UNAVAILABLE if status is Status.DEADLINE_EXCEEDED else Status.INTERNAL
        assert failed.value.status is (status if status in PASSED_ON else hidden), status
        check_says_nothing(failed.value)


async def test_passing_it_on_is_written_out(front: Client) -> None:
    with pytest.raises(CallError) as failed:
        await front.call(Front.written_out, int(Status.NOT_FOUND))
    assert (failed.value.status, failed.value.message) == (Status.NOT_FOUND, "swordfish")
    with pytest.raises(CallError) as failed:
        await front.call(Front.from_it, int(Status.NOT_FOUND))
    assert failed.value.status is Status.INTERNAL
    assert "swordfish" not in str(failed.value)


async def test_a_refusal_of_the_handler_itself_stays_its_own(front: Client) -> None:
    with pytest.raises(CallError) as failed:
        await front.call(Front.mine)
    assert (failed.value.status, failed.value.message, failed.value.details) == (
        Status.NOT_FOUND,
        "my own",
        5,
    )


@pytest.mark.parametrize("way", ["unencodable", "undecodable", "misused"])
async def test_a_mistake_of_the_handler_in_a_nested_call_is_a_crash(front: Client, way: str) -> None:
    with pytest.raises(CallError, match="the server's log") as failed:
        await front.call(f"front.{way}")
    assert (failed.value.status, failed.value.processed) == (Status.INTERNAL, "yes")
    check_says_nothing(failed.value)


@pytest.mark.parametrize("way", ["unreachable", "unreachable_threaded"])
async def test_a_server_that_cannot_be_reached_is_unavailable(front: Client, way: str) -> None:
    with pytest.raises(CallError) as failed:
        await front.call(f"front.{way}")
    assert failed.value.message == f"front.{way}: a call it made failed (UNAVAILABLE)"
    assert (failed.value.processed, failed.value.retryable) == ("yes", False)


async def test_only_the_client_that_made_the_call_tries_it_again() -> None:
    behind = Behind()
    async with (
        served(behind) as target,
        Client(target) as inner,
        served(Front(inner)) as outer,
        Client(outer) as client,
    ):
        with pytest.raises(CallError):
            await client.with_options(idempotent=True).call(Front.plainly, int(Status.UNAVAILABLE))
    assert behind.ran == 1


async def test_the_text_of_an_error_is_sent_if_errors_are_exposed() -> None:
    config = ServerConfig(expose_errors=True)
    async with (
        served(Behind) as behind,
        Client(behind) as inner,
        served(Front(inner), config=config) as target,
        Client(target) as front,
    ):
        with pytest.raises(CallError, match=r"failed \(UNAVAILABLE\): CallError: .*swordfish"):
            await front.call(Front.plainly, int(Status.UNAVAILABLE))
        with pytest.raises(CallError, match="swordfish") as failed:
            await front.call(Front.plainly, int(Status.NOT_FOUND))
        assert failed.value.status is Status.INTERNAL
        assert failed.value.details is None


async def test_interceptors_see_the_original() -> None:
    seen: list[Any] = []

    async def watch(call: fastrpc.Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except CallError as error:
            seen.append((call.status, error.status, error.message, error.details, call.error is error))
            raise

    async with (
        served(Behind) as behind,
        Client(behind) as inner,
        served(Front(inner), interceptors=[watch]) as target,
        Client(target) as front,
    ):
        for status in (Status.NOT_FOUND, Status.UNAVAILABLE):
            with pytest.raises(CallError):
                await front.call(Front.plainly, int(status))
    assert seen == [
        (Status.INTERNAL, Status.NOT_FOUND, "swordfish", {"inner": 1}, True),
        (Status.UNAVAILABLE, Status.UNAVAILABLE, "swordfish", {"inner": 1}, True),
    ]


@pytest.mark.parametrize(
    ("status", "answered"),
    [(Status.UNAVAILABLE, Status.UNAVAILABLE), (Status.UNAUTHENTICATED, Status.INTERNAL)],
)
async def test_a_call_that_an_interceptor_made_counts_as_the_handler_s(
    status: Status, answered: Status
) -> None:
    async with served(Behind) as behind, Client(behind) as inner:

        async def ask_first(call: fastrpc.Call, proceed: Proceed) -> Any:
            await inner.call(Behind.refuse, int(status))
            return await proceed(call)

        async with served(Front(inner), interceptors=[ask_first]) as target, Client(target) as front:
            with pytest.raises(CallError) as failed:
                await front.with_options(idempotent=True).call(Front.mine)
    assert (failed.value.status, failed.value.processed) == (answered, "yes")
    assert failed.value.retryable is False
    check_says_nothing(failed.value)


async def test_an_exception_of_a_client_interceptor_is_an_error_of_the_call() -> None:
    async def refuse(call: fastrpc.Call, proceed: Proceed) -> Any:
        raise CallError(Status.PERMISSION_DENIED, "swordfish")

    async with (
        served(Behind) as behind,
        Client(behind, interceptors=[refuse]) as inner,
        served(Front(inner)) as target,
        Client(target) as front,
    ):
        with pytest.raises(CallError, match="the server's log") as failed:
            await front.call(Front.plainly, int(Status.NOT_FOUND))
        assert failed.value.status is Status.INTERNAL


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConnectError("swordfish"),
        lambda: UnavailableError("swordfish"),
        lambda: ConfigError("swordfish"),
        lambda: DeadlineExceededError("swordfish"),
    ],
)
async def test_an_error_that_no_call_raised_is_a_crash(make: Callable[[], Exception]) -> None:
    @fastrpc.service("plain")
    class Plain:
        @fastrpc.method
        async def fail(self) -> int:
            raise make()

    async with served(Plain) as target, Client(target) as client:
        with pytest.raises(CallError, match="the server's log") as failed:
            await client.call("plain.fail")
    assert failed.value.status is Status.INTERNAL
    assert "swordfish" not in str(failed.value)
