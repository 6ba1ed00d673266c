"""Any exception of a handler: the caller has its answer, and the server keeps serving."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Call, CallError, Client, Interceptor, Proceed, ServerConfig, Status, SyncClient
from fastrpc.testing import connected, serving
from tests.support.program import Program, run_program
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

HANDLERS = ("at_once", "later", "inline", "threaded")


class Hopeless(BaseException):
    """No Exception and no exit."""


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even its text")


@dataclass
class Fatal:
    """Ends the program when it is decoded or encoded."""

    number: int

    def __post_init__(self) -> None:
        sys.exit(self.number)


def error_of(kind: str) -> BaseException:
    found, missing = CallError(Status.NOT_FOUND, "first", details=1), CallError(Status.ABORTED, "second")
    errors: dict[str, BaseException] = {
        "exit": SystemExit(3),
        "exit_text": SystemExit("the password is swordfish"),
        "generator_exit": GeneratorExit(),
        "base": Hopeless("the password is swordfish"),
        "stop": StopIteration(5),
        "stop_async": StopAsyncIteration(),
        "unspeakable": UnspeakableError(),
        "group": ExceptionGroup("both", [found, missing]),
        "nested": ExceptionGroup("outer", [ExceptionGroup("inner", [found]), missing]),
        "base_group": BaseExceptionGroup("both", [found, missing]),
        "mixed": ExceptionGroup("both", [found, ValueError("swordfish")]),
        "mixed_nested": ExceptionGroup("o", [found, ExceptionGroup("i", [ValueError("swordfish")])]),
        "exit_group": BaseExceptionGroup("both", [found, SystemExit(3)]),
        "unimplemented": NotImplementedError("swordfish is not there yet"),
    }
    return errors[kind]


@fastrpc.service("bad")
class Bad:
    @fastrpc.method
    async def at_once(self, kind: str) -> int:
        raise error_of(kind)

    @fastrpc.method
    async def later(self, kind: str) -> int:
        await asyncio.sleep(0)
        raise error_of(kind)

    @fastrpc.method(inline=True)
    def inline(self, kind: str) -> int:
        raise error_of(kind)

    @fastrpc.method
    def threaded(self, kind: str) -> int:
        raise error_of(kind)

    @fastrpc.method
    async def in_a_thread_of_its_own(self) -> int:
        return await asyncio.to_thread(self.leave)

    @fastrpc.method
    async def grouped(self) -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.refuse())
        return 1

    def leave(self) -> int:
        sys.exit(3)

    async def refuse(self) -> None:
        await asyncio.sleep(0)
        raise CallError(Status.NOT_FOUND, "no such user", details=[1])

    @fastrpc.method
    async def take(self, value: Fatal) -> int:
        return value.number

    @fastrpc.method
    async def fine(self) -> int:
        return 7


async def plain(call: Call, proceed: Proceed) -> Any:
    return await proceed(call)


@pytest.mark.parametrize("interceptors", [(), (plain,)], ids=["bare", "intercepted"])
@pytest.mark.parametrize("handler", HANDLERS)
async def test_any_exception_of_a_handler_is_internal_and_ends_nothing(
    handler: str, interceptors: Sequence[Interceptor], caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("exit", "exit_text", "base", "generator_exit", "stop", "stop_async", "exit_group"):
        caplog.clear()
        await check_internal(handler, kind, interceptors, caplog)


async def check_internal(
    handler: str, kind: str, interceptors: Sequence[Interceptor], caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(Bad, config=ServerConfig(), interceptors=interceptors) as client:
        other = asyncio.ensure_future(client.call("bad.later", "group"))
        with pytest.raises(CallError) as failed:
            await client.call(f"bad.{handler}", kind)
        assert (failed.value.status, failed.value.processed) == (Status.INTERNAL, "yes")
        assert "swordfish" not in str(failed.value)
        assert await client.call(Bad.fine) == 7
        with pytest.raises(CallError, match="first"):
            await other
    identifiers = [getattr(record, "error_id", None) for record in caplog.records]
    assert any(identifier and identifier in str(failed.value) for identifier in identifiers)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("handler", HANDLERS)
async def test_an_exit_keeps_the_connection_open(handler: str, scheme: str) -> None:
    async with served(Bad, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        for _ in range(3):
            with pytest.raises(CallError, match="the server's log"):
                await client.call(f"bad.{handler}", "exit")
        results = await client.call_many(
            f"bad.{handler}", [("exit",), ("group",), ("exit",)], return_exceptions=True
        )
        assert [result.status for result in results] == [Status.INTERNAL, Status.NOT_FOUND, Status.INTERNAL]
        await client.notify(f"bad.{handler}", "exit")
        assert await client.call(Bad.fine) == 7
        assert len(target.server._gate.engines) == 1  # type: ignore[union-attr]


def test_an_exit_reaches_a_blocking_client() -> None:
    with serving(Bad) as address, SyncClient(address) as client:
        for handler in HANDLERS:
            with pytest.raises(CallError) as failed:
                client.call(f"bad.{handler}", "exit")
            assert failed.value.status is Status.INTERNAL
        assert client.call(Bad.fine) == 7


async def test_an_exit_that_comes_through_a_future_ends_nothing() -> None:
    async with connected(Bad, config=ServerConfig()) as client:
        with pytest.raises(CallError, match="the server's log"):
            await client.call(Bad.in_a_thread_of_its_own)
        assert await client.call(Bad.fine) == 7


async def test_an_exit_of_an_argument_s_own_type_ends_nothing() -> None:
    async with connected(Bad, config=ServerConfig()) as client:
        with pytest.raises(CallError) as failed:
            await client.call("bad.take", {"number": 3})
        assert (failed.value.status, failed.value.processed) == (Status.INTERNAL, "no")
        assert await client.call(Bad.fine) == 7


@pytest.mark.parametrize("before", [True, False])
async def test_an_exit_of_an_interceptor_ends_nothing(before: bool) -> None:
    async def leave(call: Call, proceed: Proceed) -> Any:
        if call.method == "bad.fine":
            return await proceed(call)
        if not before:
            await proceed(call)
        sys.exit(3)

    async with connected(Bad, config=ServerConfig(), interceptors=[leave]) as client:
        for handler in HANDLERS:
            with pytest.raises(CallError) as failed:
                await client.call(f"bad.{handler}", "group")
            assert failed.value.status is (Status.INTERNAL if before else Status.NOT_FOUND)
        assert await client.call(Bad.fine) == 7


@pytest.mark.parametrize("handler", HANDLERS)
async def test_an_error_that_cannot_be_described_is_still_answered(handler: str) -> None:
    async with connected(Bad, config=ServerConfig(expose_errors=True)) as client:
        with pytest.raises(CallError, match="and so did its error") as failed:
            await client.call(f"bad.{handler}", "unspeakable")
        assert failed.value.status is Status.INTERNAL
        assert await client.call(Bad.fine) == 7


@pytest.mark.parametrize("interceptors", [(), (plain,)], ids=["bare", "intercepted"])
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("kind", ["group", "nested", "base_group"])
async def test_a_group_of_refusals_counts_as_its_first(
    handler: str, kind: str, interceptors: Sequence[Interceptor]
) -> None:
    async with connected(Bad, config=ServerConfig(), interceptors=interceptors) as client:
        with pytest.raises(CallError) as failed:
            await client.call(f"bad.{handler}", kind)
    assert (failed.value.status, failed.value.message) == (Status.NOT_FOUND, "first")
    assert (failed.value.details, failed.value.processed) == (1, "yes")


async def test_a_task_group_hides_no_refusal() -> None:
    async with connected(Bad, config=ServerConfig()) as client:
        with pytest.raises(CallError, match="no such user") as failed:
            await client.call(Bad.grouped)
    assert (failed.value.status, failed.value.details) == (Status.NOT_FOUND, [1])


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("kind", ["mixed", "mixed_nested"])
async def test_a_group_with_other_errors_than_refusals_is_a_crash(handler: str, kind: str) -> None:
    async with connected(Bad, config=ServerConfig()) as client:
        with pytest.raises(CallError) as failed:
            await client.call(f"bad.{handler}", kind)
    assert failed.value.status is Status.INTERNAL
    assert "swordfish" not in str(failed.value)


@pytest.mark.parametrize("interceptors", [(), (plain,)], ids=["bare", "intercepted"])
@pytest.mark.parametrize("handler", HANDLERS)
async def test_not_implemented_is_unimplemented(
    handler: str, interceptors: Sequence[Interceptor], caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(Bad, config=ServerConfig(), interceptors=interceptors) as client:
        with pytest.raises(CallError) as failed:
            await client.call(f"bad.{handler}", "unimplemented")
    assert (failed.value.status, failed.value.processed) == (Status.UNIMPLEMENTED, "yes")
    assert failed.value.message == f"bad.{handler} is not implemented"
    assert "swordfish is not there yet" in caplog.text


async def test_interceptors_see_the_status_of_the_answer_and_the_error_itself() -> None:
    seen: list[Any] = []

    async def watch(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            seen.append((call.status, type(call.error)))

    async with connected(Bad, config=ServerConfig(), interceptors=[watch]) as client:
        for kind in ("group", "mixed", "unimplemented", "exit"):
            with pytest.raises(CallError):
                await client.call(Bad.later, kind)
    assert seen == [
        (Status.NOT_FOUND, ExceptionGroup),
        (Status.INTERNAL, ExceptionGroup),
        (Status.UNIMPLEMENTED, NotImplementedError),
        (Status.INTERNAL, SystemExit),
    ]


INTERRUPTED = """
import asyncio, sys
import fastrpc

@fastrpc.service("s")
class S:
    @fastrpc.method
    async def at_once(self) -> int:
        raise KeyboardInterrupt
    @fastrpc.method
    async def later(self) -> int:
        await asyncio.sleep(0)
        raise KeyboardInterrupt
    @fastrpc.method(inline=True)
    def inline(self) -> int:
        raise KeyboardInterrupt
    @fastrpc.method
    def threaded(self) -> int:
        raise KeyboardInterrupt

async def main():
    async with fastrpc.Server(S) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(str(address)) as client:
            try:
                await client.call(f"s.{sys.argv[1]}")
            except fastrpc.CallError as error:
                print(error.status.name)
print("starts", flush=True)
if sys.argv[2] == "uvloop":
    import uvloop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("handler", ["at_once", "later", "inline"])
def test_an_interrupt_on_the_loop_ends_the_program(handler: str, loop: str, tmp_path: Path) -> None:
    """Ctrl-C is delivered to the main thread, into the code that runs there."""
    ended = run_program(["-c", INTERRUPTED, handler, loop], tmp_path)
    assert ended.output.startswith("starts")
    assert "KeyboardInterrupt" in ended.errors
    assert ended.code != 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_interrupt_that_is_raised_in_a_thread_is_a_crash_like_any_other(loop: str, tmp_path: Path) -> None:
    ended = run_program(["-c", INTERRUPTED, "threaded", loop], tmp_path)
    assert (ended.output.split(), ended.code) == (["starts", "INTERNAL"], 0), ended


SERVED = """
import sys
import fastrpc

@fastrpc.service("s")
class S:
    @fastrpc.method
    async def leave(self) -> int:
        sys.exit(9)
    @fastrpc.method(inline=True)
    def leave_inline(self) -> int:
        sys.exit(9)
    @fastrpc.method
    async def fine(self) -> int:
        return 7

print("serves", flush=True)
fastrpc.serve(S, address=sys.argv[1], workers=int(sys.argv[2]))
"""


INTERRUPTING = """
import asyncio, sys
import fastrpc

@fastrpc.service("s")
class S:
    @fastrpc.method
    async def at_once(self) -> int:
        raise KeyboardInterrupt
    @fastrpc.method
    async def later(self) -> int:
        await asyncio.sleep(0)
        raise KeyboardInterrupt
    @fastrpc.method(inline=True)
    def inline(self) -> int:
        raise KeyboardInterrupt
    @fastrpc.method
    def threaded(self) -> int:
        raise KeyboardInterrupt
    @fastrpc.method
    async def batched(self) -> int:
        return await batcher(1)
    @fastrpc.method
    async def wait(self) -> int:
        await fastrpc.current_call().draining
        return 7
    @fastrpc.method
    async def outlast(self) -> int:
        await fastrpc.current_call().draining
        await asyncio.sleep(1.5)
        return 7
    @fastrpc.method
    async def interrupt_a_drain(self) -> int:
        await fastrpc.current_call().draining
        raise KeyboardInterrupt
    @fastrpc.method
    async def fine(self) -> int:
        return 7

@fastrpc.Batcher
async def batcher(items):
    raise KeyboardInterrupt

for _ in range(int(sys.argv[3]) if sys.argv[3:] else 1):
    print("serves", flush=True)
    try:
        fastrpc.serve(S, address=sys.argv[1], workers=int(sys.argv[2]))
    except SystemExit as error:
        code = error.code
    else:
        code = 0
    print("ended by", code, flush=True)
sys.exit(code)
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("method", ["at_once", "later", "inline", "batched"])
async def test_an_interrupt_on_the_loop_drains_a_server_as_ctrl_c_does(
    method: str, workers: int, tmp_path: Path
) -> None:
    address = f"unix://{tmp_path / 'socket'}"
    with Program(["-c", INTERRUPTING, address, str(workers)], tmp_path) as program:
        program.wait_output("serves")
        async with Client(address) as client:
            await client.ready(timeout=20)
            with pytest.raises(CallError, match="the server's log"):
                await client.call("s.threaded")
            waiting = asyncio.ensure_future(client.call("s.wait"))
            await asyncio.sleep(0)
            with pytest.raises(CallError, match="the server's log"):
                await client.call(f"s.{method}")
            assert await waiting == 7
        ended = await asyncio.to_thread(program.wait)
    assert ended.code == 130, ended.errors


@pytest.mark.parametrize("begun_by", ["interrupts", "a signal"])
@pytest.mark.parametrize("workers", [1, 2])
async def test_interrupts_of_user_code_cut_no_drain_off(begun_by: str, workers: int, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'socket'}"
    with Program(["-c", INTERRUPTING, address, str(workers)], tmp_path) as program:
        program.wait_output("serves")
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(address)) for _ in range(4)]
            calls: list[asyncio.Future[Any]] = []
            for client in clients:
                await client.ready(timeout=20)
                calls += [asyncio.ensure_future(client.call("s.outlast"))]
                calls += [asyncio.ensure_future(client.call("s.interrupt_a_drain")) for _ in range(2)]
                # Its answer says that the calls before it have begun.
                await client.call("s.fine")
            if begun_by == "a signal":
                program.signal(signal.SIGTERM)
            else:
                calls += [asyncio.ensure_future(one.call("s.later")) for one in clients for _ in range(2)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        ended = await asyncio.to_thread(program.wait)
    assert outcomes[:12:3] == [7, 7, 7, 7]
    for outcome in (*outcomes[1:12:3], *outcomes[2:12:3]):
        assert isinstance(outcome, CallError)
        assert outcome.status is Status.INTERNAL
    assert ended.code == (0 if begun_by == "a signal" else 130), ended.errors


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_program_that_serves_again_forgets_an_earlier_interrupt(workers: int, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'socket'}"
    with Program(["-c", INTERRUPTING, address, str(workers), "3"], tmp_path) as program:
        for ended in (1, 2):
            async with Client(address) as client:
                await client.ready(timeout=20)
                with pytest.raises(CallError, match="the server's log"):
                    await client.call("s.later")
            await asyncio.to_thread(program.wait_output, f"(serves\nended by 130\n){{{ended}}}serves")
        async with Client(address) as client:
            await client.ready(timeout=20)
            assert await client.call("s.fine") == 7
        program.signal(signal.SIGTERM)
        last = await asyncio.to_thread(program.wait)
    assert last.output.split("\n")[1::2] == ["ended by 130", "ended by 130", "ended by 0"], last
    assert last.code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exit_ends_no_program_that_serves(workers: int, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'socket'}"
    with Program(["-c", SERVED, address, str(workers)], tmp_path) as program:
        program.wait_output("serves")
        with SyncClient(address) as client:
            patient = client.with_options(timeout=20, wait_for_ready=True)
            assert patient.call("s.fine") == 7
            for method in ("s.leave", "s.leave_inline"):
                with pytest.raises(CallError, match="the server's log"):
                    client.call(method)
            assert client.call("s.fine") == 7
        program.signal(signal.SIGTERM)
        ended = program.wait()
    assert ended.code == 0
    assert "another starts" not in ended.errors
