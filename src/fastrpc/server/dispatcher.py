"""The Python part of serving: whatever does not happen for every call."""

import asyncio
import contextvars
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from fastrpc._core.call import Route
from fastrpc._core.interception import Chain
from fastrpc._core.invocation import invoke, run_handler
from fastrpc._core.marshal import Marshal
from fastrpc._core.served_call import ServerCall, ServerState
from fastrpc._core.server_session import ServerSession
from fastrpc._core.settings import codec_label, compressor_label
from fastrpc.codecs.base import codec_with_id
from fastrpc.compressors.base import Compressor, Steps, decompress_steps
from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, DeadlineExceededError, DecodeError, FastRPCError, UnavailableError
from fastrpc.rpc.description import nearest_name
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.rpc.peer import Peer
from fastrpc.rpc.schema import marshal_for
from fastrpc.server.builtin import BUILTIN_PREFIX
from fastrpc.server.workers import Workers
from fastrpc.status import Status

__all__ = ["Dispatcher", "Failure"]

logger = logging.getLogger("fastrpc.server")

#: Status, text, encoded details, milliseconds after which to try again (0: nothing said, all ones: do not).
Failure = tuple[Status, str, bytes, int]

_DO_NOT_RETRY = 0xFFFFFFFF

#: How often a drain looks whether all connections have taken their part of it.
_LOOK_SECONDS = 0.02

#: How long a decompression may keep the loop before others get their turn.
_UNPACK_SLICE_SECONDS = 0.003


class Dispatcher:
    """What connections ask when a call takes a turn of its own."""

    def __init__(self, interceptors: Sequence[Interceptor], workers: Workers, config: ServerConfig) -> None:
        self.state: ServerState
        self._proceed = Chain(interceptors, self._handle, self._note_failure).proceed()
        self._workers = workers
        self._config = config
        self._jobs: dict[ServerCall, _ThreadJob] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._unpacking: dict[ServerSession, deque[tuple[ServerCall, Steps]]] = {}

    def unknown_method(self, method: str, session: ServerSession) -> str:
        """Say that there is no such method; where reflection is on also which one may be meant, or which there are."""
        if not getattr(session, "reveals_services", False):
            return f"no method {method!r} here"
        names = [route.method for route in self.state.routes if not route.method.startswith(BUILTIN_PREFIX)]
        near = nearest_name(method, names)
        if near is not None:
            return f"no method {method!r} here; did you mean {near!r}?"
        return f"no method {method!r} here; there are {', '.join(sorted(names)[:10]) or 'none'}"

    def unknown_codec(self, call: ServerCall) -> str:
        """Say that requests may not come in its codec, and in which ones they may."""
        taken = ", ".join(self._config.codecs)
        return f"{call.method}: codec {codec_label(call.codec_id)} is not accepted here, only {taken}"

    def unknown_compressor(self, wire_id: int) -> str:
        """Say that requests may not be compressed so, and how they may."""
        taken = ", ".join(compressor.name for compressor in self.state.compressors.values())
        return f"compressor {compressor_label(wire_id)} is not known here, only {taken}"

    def marshal_of(self, route: Route, codec: int) -> Marshal:
        """Return the marshal for a codec other than the method's own.

        Raises:
            CallError: the codec cannot carry this method's types.
        """
        try:
            name = codec_with_id(codec).name
            limits, memory = self._config.limits, self._config.memory
            return marshal_for(route.definition, name, depth=limits.depth, items=memory.items)
        except FastRPCError as error:
            raise CallError(Status.UNIMPLEMENTED, error.message, processed="no") from None

    # Interceptors

    def intercepted(self, call: ServerCall) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that runs the interceptors around the handler."""
        return self._proceed(call)

    def _note_failure(self, call: ServerCall, error: BaseException) -> None:
        call.note_outcome(self.failure_of(call, error, log=False)[0], error)

    async def _handle(self, call: ServerCall) -> Any:
        """Run the handler inside the interceptors, in the way its kind asks for."""
        route = call.route
        if call.given is None:
            # It was answered meanwhile, and its arguments are gone with that.
            raise RuntimeError(f"{call.method} ended before an interceptor proceeded")
        call.never_started = False
        if route.definition.style == "async":
            return await invoke(route.handler, call.given)
        if route.definition.style == "inline":
            return invoke(route.handler, call.given)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        job = _ThreadJob(call, route.handler, partial(_settle, done))
        self._workers.submit(job)
        try:
            return await done
        except asyncio.CancelledError:
            # The thread cannot be stopped; the handler learns of it by `current_call().cancelled`.
            job.is_cancelled = True
            raise

    # Connections

    def session_lost(self, session: ServerSession, error: BaseException | None) -> None:
        """A connection is gone."""
        self.changed()

    def describe_peer(self, session: ServerSession) -> Peer:
        """Say who is on the other side of a connection."""
        name = session.peer_name
        if isinstance(name, tuple):
            return Peer(Address("tcp", host=name[0], port=name[1]))
        is_socket = session.transport is not None and session.transport.get_extra_info("socket") is not None
        return Peer(Address("unix" if is_socket else "memory", path=str(name or "")))

    def changed(self) -> None:
        """Let `wait_idle` and `wait_closed` look again."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_idle(self) -> None:
        """Return once no call is under way and every connection took its part of the drain."""
        await self._wait(
            lambda: self._is_idle() and all(session.has_drained for session in self.state.sessions)
        )

    async def wait_closed(self) -> None:
        """Return once every connection is gone."""
        await self._wait(lambda: not self.state.sessions)

    def _is_idle(self) -> bool:
        return self.state.running == 0 and self.state.waiting == 0 and not self._unpacking

    async def _wait(self, condition: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        self.state.is_watched = True
        try:
            while not condition():
                waiter = loop.create_future()
                self._waiters.add(waiter)
                # No event tells that a connection announced its end or that its last bytes left.
                look = loop.call_later(_LOOK_SECONDS, self.changed)
                try:
                    await waiter
                finally:
                    look.cancel()
                    self._waiters.discard(waiter)
        finally:
            self.state.is_watched = False

    # Compressed requests

    def unpack(self, call: ServerCall, compressor: Compressor, payload: bytes) -> None:
        """Decompress a request, a little at a time, one request of a connection after the other."""
        queue = self._unpacking.setdefault(call.session, deque())
        queue.append((call, decompress_steps(compressor, payload, self._config.limits.message_bytes)))
        if len(queue) == 1:
            self._unpack_slice(call.session)

    def _unpack_slice(self, session: ServerSession) -> None:
        queue = self._unpacking[session]
        ends = time.perf_counter() + _UNPACK_SLICE_SECONDS
        while queue:
            call, steps = queue[0]
            if call.cancelled or session.is_closed:
                payload, error, is_done = b"", None, True
            else:
                payload, error, is_done = _advance(steps, ends)
            if not is_done:
                asyncio.get_running_loop().call_soon(self._unpack_slice, session)
                return
            queue.popleft()
            session.unpacked(call, payload, error)
        del self._unpacking[session]

    # Threads

    def run_in_thread(self, call: ServerCall, handler: Callable[..., Any]) -> int:
        """Queue a `def` handler; the session hears of its end by `thread_finished`."""
        job = _ThreadJob(call, handler, self._thread_finished)
        self._jobs[call] = job
        self._workers.submit(job)
        return 0

    def _thread_finished(self, call: ServerCall, value: Any, error: BaseException | None) -> None:
        del self._jobs[call]
        call.session.thread_finished(call, value, error)

    def stop(self, call: ServerCall) -> None:
        """The caller gave up a call that waits for a thread, or runs in one."""
        job = self._jobs.get(call)
        if job is not None:
            job.is_cancelled = True

    # Errors

    def failure_of(self, call: ServerCall, error: BaseException, *, log: bool = True) -> Failure:
        """Say what the caller is told of an error: its own words for CallError, an id and no more for a crash."""
        if isinstance(error, CallError):
            return self._refusal(call, error, is_sent=log)
        if call.never_started and isinstance(error, FastRPCError) and error.status is not Status.UNKNOWN:
            return error.status, f"{call.method}: {error.message}", b"", _pushback_of(error)
        if isinstance(error, asyncio.CancelledError):
            if call.is_expired:
                return Status.DEADLINE_EXCEEDED, f"{call.method}: its deadline passed", b"", 0
            return Status.CANCELLED, f"{call.method} was cancelled", b"", 0
        if isinstance(error, DeadlineExceededError) and call.remaining() == 0:
            # A call that it made had what was left of its own time.
            return Status.DEADLINE_EXCEEDED, f"{call.method}: its deadline passed", b"", 0
        identifier = os.urandom(4).hex()
        if log:
            logger.error(
                "%s failed [%s]",
                call.method,
                identifier,
                exc_info=error,
                extra={
                    "service": call.method.rpartition(".")[0],
                    "method": call.method,
                    "peer": str(call.peer),
                    "status": Status.INTERNAL.name,
                    "error_id": identifier,
                },
            )
        text = f"{call.method} failed; the server's log has the reason under id {identifier}"
        if self._config.expose_errors:
            text += f": {type(error).__name__}: {error}"
        return Status.INTERNAL, text, b"", 0

    def _refusal(self, call: ServerCall, error: CallError, *, is_sent: bool) -> Failure:
        details = b""
        if is_sent and error.details is not None:
            try:
                details = (
                    msgspec.json.encode(error.details)
                    if call.codec_id == 2
                    else msgspec.msgpack.encode(error.details)
                )
            except Exception as problem:  # whatever its types raise
                logger.error("%s: the details of its error cannot be encoded: %s", call.method, problem)
        # OK would be read as a value.
        status = error.status or Status.UNKNOWN
        return status, error.message, details, _pushback_of(error)


def _pushback_of(error: FastRPCError) -> int:
    """Return what the caller is told of trying again, in milliseconds."""
    if not isinstance(error, CallError | UnavailableError):
        return 0
    if error._was_received:
        return _DO_NOT_RETRY
    if error.retry_after is None:
        return 0
    return int(max(1, min(_DO_NOT_RETRY - 1, error.retry_after * 1000)))


def _advance(steps: Steps, ends: float) -> tuple[bytes, FastRPCError | None, bool]:
    """Take steps until they are done or the time is up: the result, what is wrong, whether they are done."""
    try:
        while True:
            next(steps)
            if time.perf_counter() > ends:
                return b"", None, False
    except StopIteration as end:
        return end.value, None, True
    except FastRPCError as error:
        return b"", error, True
    except Exception as error:
        # An installed compressor may raise anything; it must not cost the connection.
        return b"", DecodeError(f"the payload cannot be decompressed: {error!r}"), True


class _ThreadJob:
    """One call of a `def` handler, for the thread pool."""

    __slots__ = ("_call", "_context", "_deliver", "_error", "_given", "_handler", "_value", "is_cancelled")

    def __init__(self, call: ServerCall, handler: Callable[..., Any], deliver: Callable[..., object]) -> None:
        self.is_cancelled = False
        self._call = call
        self._handler = handler
        # The call forgets its arguments when it ends, which may be before a thread stops with it.
        self._given = call.given
        self._deliver = deliver
        self._context = contextvars.copy_context()
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def expired(self) -> bool:
        """Whether nobody waits for it any more: then it is not started."""
        return self.is_cancelled or self._call.remaining() == 0

    def run(self) -> None:
        """Call the handler; in a thread of the pool."""
        try:
            self._value = self._context.run(run_handler, self._call, self._handler, self._given)
        except StopIteration as error:
            # A future does not take it; Python makes the same of one that leaves a coroutine.
            self._error = RuntimeError(f"{self._call.method} raised StopIteration")
            self._error.__cause__ = error
        except BaseException as error:
            self._error = error

    def refuse(self, reason: str) -> None:
        """The pool did not start it."""
        self._call.never_started = True
        if self._call.is_expired or self._call.remaining() == 0:
            # The end of its time stops a call as its caller does.
            text = f"{self._call.method}: its deadline passed before a thread was free"
            self._error = CallError(Status.DEADLINE_EXCEEDED, text, processed="no")
        elif self.is_cancelled:
            self._error = CallError(Status.CANCELLED, f"{self._call.method} was cancelled", processed="no")
        else:
            text = f"{self._call.method} was not started: {reason}"
            self._error = CallError(Status.RESOURCE_EXHAUSTED, text, processed="no")

    def done(self) -> None:
        """Answer; on the loop."""
        self._deliver(self._call, self._value, self._error)


def _settle(future: asyncio.Future[Any], call: ServerCall, value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
