"""Calls to the peer of one connection, by `Peer.client`.

Such a call is sent on that connection or fails. It picks no endpoint, dials no connection, and is not retried.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self, TypeVar, Unpack, cast

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.base.histogram import CallTotals
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.caller import Caller
from fastrpc._core.client.caller_state import CallerState
from fastrpc._core.client.caller_view import process_generation
from fastrpc._core.client.own_calls import watch_calls
from fastrpc._core.loop.loop_state import wrong_loop
from fastrpc._core.native.connection import Connection
from fastrpc._core.wire.settings import WireNumbers
from fastrpc.config import ClientConfig, ServerConfig
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError, ConnectionLostError, DeadlineExceededError, FastRPCError
from fastrpc.peers.answers import Answers
from fastrpc.peers.batches import Batch
from fastrpc.peers.options import checked_options
from fastrpc.peers.outcomes import count_unsent, give_turn, result_of
from fastrpc.peers.proxy import Proxy
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.peers.stream import Stream
from fastrpc.peers.stream_maker import StreamMaker
from fastrpc.peers.stream_verbs import StreamVerbs
from fastrpc.rpc.options import CallOptions
from fastrpc.time_limit import time_limit

__all__ = ["PeerCalling", "PeerClient", "PeerRunner"]

S = TypeVar("S")

#: Options of `with_options` that control the choice of connections or further attempts.
_WITHOUT_EFFECT = ("wait_for_ready", "fail_mode", "hash_key", "endpoint", "prefer")


class PeerCalling:
    """The parts that all PeerClients of one server, or of one client, share.

    Args:
        numbers: the codecs and compressors of answers.
        codec: the codec of methods that name no codec.
    """

    def __init__(
        self, config: ClientConfig | ServerConfig, numbers: WireNumbers, codec: str = "msgpack"
    ) -> None:
        self.config = config
        self.numbers = numbers
        self.codec = codec
        self.routes = RouteMaker(config, CallTotals())
        #: The routes of peers whose calls take exactly one value.
        self.value_routes = RouteMaker(config, CallTotals(), by_value=True)
        self.budget = RetryBudget()


class PeerClient(Caller, StreamVerbs):
    """Call the peer of a connection, if the peer serves as well.

    A handler gets a PeerClient as `current_call().peer.client`, other code from `Server.peers()`. The object may be
    kept. It never retries. A call has the timeout `Timeouts.call`, and inside a handler also the handler's deadline.
    When the connection is closed or draining, calls raise ConnectionLostError. The peer reconnects by itself; the new
    connection has another Peer.
    """

    def __init__(
        self,
        calling: PeerCalling,
        address: Address,
        connection: Any,
        peer_at: Callable[[Address], Any],
    ) -> None:
        runner = self._runner_of(calling, address, peer_at)
        state = CallerState(runner, runner.routes, calling.budget)
        config = calling.config
        state.default_timeout_ns = int((config.timeouts.call or 0) * 1e9)
        state.numbers = calling.numbers
        state.compress_above = config.compress_above if isinstance(config, ClientConfig) else 1024
        state.message_limit = config.limits.message_bytes
        state.kind = PeerClient
        state.check = checked_options
        self._share(state, calling.codec)
        runner.attend(connection, state)

    @staticmethod
    def _runner_of(calling: PeerCalling, address: Address, peer_at: Callable[[Address], Any]) -> "PeerRunner":
        return PeerRunner(calling, address, peer_at)

    def with_options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a cheap view of this client with other call options, as `Client.with_options` does.

        Raises:
            ConfigError: an option controls connections or attempts, of which a PeerClient has only one.
        """
        _check_effect(options)
        return super().with_options(**options)

    @property
    def is_closed(self) -> bool:
        """Whether no further calls can be sent, because the connection is closed or the peer drains."""
        return cast(bool, self._state.runner.is_closed)

    async def wait_closed(self) -> None:
        """Wait until `is_closed`."""
        await self._state.runner.wait_closed()

    def bind(self, contract: Callable[..., S], /) -> S:
        """Return a proxy with the methods of a service class, as `Client.bind` does."""
        return cast(S, Proxy(self, contract))

    def __repr__(self) -> str:
        return f"<PeerClient of {self._state.runner.address}{', closed' if self.is_closed else ''}>"


def _check_effect(options: Mapping[str, Any]) -> None:
    for name in _WITHOUT_EFFECT:
        if name in options:
            raise ConfigError(
                f"{name} has no effect for a PeerClient: its calls go to one connection, once",
                hint=f"leave {name} out",
            )


class PeerRunner(Answers):
    """The slow path of the calls of a PeerClient.

    Args:
        peer_at: returns the `Peer` for an address.
    """

    #: The retry policy: none.
    policy = None

    def __init__(self, calling: PeerCalling, address: Address, peer_at: Callable[[Address], Any]) -> None:
        self.address = address
        self._peer_at = peer_at
        self.routes = calling.routes
        self._answer_bytes = calling.config.limits.message_bytes
        self.is_closed = True
        self.streams = _Streams(self, calling)
        self.connection: Connection | None = None
        self._state: CallerState | None = None
        self._generation = process_generation()
        # Futures of tasks that wait for the end of the connection, or for room in the output.
        self._waiters: set[asyncio.Future[None]] = set()

    def attend(self, connection: Any, state: CallerState) -> None:
        """Use this connection for calls as long as it accepts them."""
        if connection is not None and watch_calls(connection, Endpoint(self.address), self._end):
            self.is_closed = False
            self.connection, self._state = connection, state
            state.bounds_output = True
            state.set_connections([connection])

    def _end(self) -> None:
        """Record that no further calls can be sent, and drop all data of the connection."""
        self.is_closed = True
        if self._state is not None:
            self._state.set_connections(())
        self.connection = self._state = None
        self.wake()

    def wake(self) -> None:
        """Make all waiting tasks check their conditions again."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_closed(self) -> None:
        self.check_loop(asyncio.get_running_loop())
        while not self.is_closed:
            await self._wait(asyncio.get_running_loop().create_future())

    async def _wait(self, waiter: asyncio.Future[None]) -> None:
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def first_use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse the use in another loop than the connection's, or in another process."""
        self.check_loop(loop)

    def check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._generation != process_generation():
            raise RuntimeError("this PeerClient belongs to a connection that was made before the fork")
        if self.connection is not None and self.connection.loop_state.loop is not loop:
            raise wrong_loop("PeerClient", self.connection.loop_state.loop, loop)

    def lost(self, method: str | None) -> FastRPCError:
        """Return the error of a call without a connection."""
        return ConnectionLostError(
            f"{method}: the connection of {self.address} ended, or is about to; the call was not sent",
            processed="no",
            retryable=False,
            hint="the other side connects anew by itself: take the client of its new Peer",
        )

    # Hooks of calls

    async def run(self, call: AwaitedCall) -> Any:
        """Fail a call that found no connection."""
        call._start_clock()
        await self.fail(call)

    async def fail(self, call: AwaitedCall) -> NoReturn:
        """Fail a call for which there is no connection."""
        error = self.lost(call.method)
        count_unsent(call, error)
        await give_turn()
        raise error

    async def run_later(self, call: AwaitedCall) -> Any:
        """Make a call after earlier calls were sent, so that output for a slow reader does not accumulate."""
        await self._begin_with_room(call)
        return await self._attempted(call)

    async def _begin_with_room(self, call: AwaitedCall) -> None:
        """Set the deadline of a call, and wait until there is room for it.

        Raises:
            DeadlineExceededError: the deadline passed before there was room.
        """
        call._start_clock()
        try:
            async with time_limit(call.remaining()):
                while (change := self._room_for(call)) is not None:
                    await self._wait(change)
        except TimeoutError:
            error = DeadlineExceededError(
                f"{call.method}: {self.address} does not take what was sent before; the call was not sent",
                processed="no",
            )
            count_unsent(call, error)
            raise error from None

    def _room_for(self, call: AwaitedCall) -> asyncio.Future[None] | None:
        """Return a future that is done when there may be room for a call. None: there is room, or no connection."""
        if self.connection is None:
            return None
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return waiter if call._await_output(self.connection, waiter) else None

    async def run_packed(self, call: AwaitedCall) -> Any:
        call._start_clock()
        return await self._attempted(call)

    async def _attempted(self, call: AwaitedCall) -> Any:
        """Make the one attempt of a call."""
        if self.connection is None:
            await self.fail(call)
        attempt = call._attempt_on(self.connection, 0)
        try:
            value = await attempt
        finally:
            call._adopt(attempt)
        return result_of(call, value)

    def run_streamed(self, call: AwaitedCall) -> Any:
        """Return the coroutine that makes a call whose arguments include a stream of messages."""
        return self.streams.call(call)

    def retry(self, call: AwaitedCall, error: FastRPCError) -> None:
        """Return None: every failure is final."""

    async def run_batch(self, head: AwaitedCall) -> list[Any]:
        """Fail a batch that found no connection."""
        if head.kind != "unary":
            raise TypeError(
                f"{head.method} takes a stream: a batch cannot send one; write client.call(…) for each"
            )
        error, batch = self.lost(head.method), Batch(head)
        try:
            batch.start_clock()
        except DeadlineExceededError as late:
            error = late
        errors = batch.count_unsent(error)
        await give_turn()
        return batch.result(errors)

    async def finish_batch(self, head: AwaitedCall, values: list[Any]) -> list[Any]:
        return Batch(head).result(values)

    def peer(self, call: AwaitedCall) -> Any:
        """Return the peer of an outgoing call."""
        return self._peer_at(self.address)


class _Streams(StreamMaker):
    """The streams of a PeerClient: one attempt each."""

    def __init__(self, runner: PeerRunner, calling: PeerCalling) -> None:
        super().__init__(calling.routes, calling.config.timeouts.stream_idle or 0.0)
        self._runner = runner

    async def open(self, stream: Stream[Any, Any]) -> None:
        call = stream.origin
        stream.enter_loop(self._idle_seconds)
        connection = self._runner.connection
        if connection is None:
            await self._runner.fail(call)
        stream.start_attempt(await self._first_attempt(call, connection))

    def retry(self, stream: Stream[Any, Any], error: FastRPCError) -> bool:
        return False
