"""The context of a call for its servicer, with the methods of the contexts of grpc.aio and grpc.

::

    Context ──► LoopContext    of handlers on the loop    (with grpcio imported: AioContext, a grpc.aio.ServicerContext)
        └─────► ThreadContext  of handlers in threads     (with grpcio imported: a grpc.ServicerContext)

Initial metadata is sent when the servicer calls `send_initial_metadata`, trailing metadata and status at the end. A
protocol whose unary answers have only one block of metadata sends both at the end.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import quote

from fastrpc._core.payload.metadata import MetadataPairs, encode_pairs
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_stream import ServedStream
from fastrpc.errors import CallError, StreamEndedError
from fastrpc.grpc.faults import ServicerFaults
from fastrpc.grpc.metadata import DETAILS_KEY, Pair, Pairs, pairs_of, received_pairs
from fastrpc.grpc.names import compressor_of, status_of
from fastrpc.rpc.protobuf.status_details import decode_details
from fastrpc.status import Status
from fastrpc.user_code import contained

__all__ = ["Context", "LoopContext", "ThreadContext"]

logger = logging.getLogger("fastrpc.grpc")

DoneCallback = Callable[[Any], object]


class Context:
    """The part of a context that is the same on the loop and in threads."""

    #: The raw status that was set; None before.
    _code: Any = None
    _status = Status.OK
    _text = ""
    #: The raw metadata that was set.
    _given_trailing: Any = None
    _trailing: Pairs = ()
    #: Initial metadata that is sent at the end, because the protocol cannot send it earlier.
    _initial: Pairs = ()
    _invocation: Pairs | None = None
    _callbacks: tuple[Callable[[], object], ...] = ()
    _is_done = False
    #: The error of `abort`. It ends the call even if the servicer catches it.
    _aborted: CallError | None = None

    #: The class of the error that `abort` raises.
    abort_error: type[CallError] = CallError
    #: The value of `read` after the last message.
    end_of_stream: Any = None

    def __init__(self, call: ServerCall) -> None:
        self.call = call

    # About the call

    def invocation_metadata(self) -> Pairs:
        """Return the metadata of the request."""
        if self._invocation is None:
            self._invocation = received_pairs(self.call)
        return self._invocation

    def peer(self) -> str:
        """Return the address of the caller, as grpcio writes it."""
        address = self.call.peer.address
        if not address.host:
            return f"{address.scheme}:{address.path or ''}"
        # An IPv4 caller of a dual-stack socket has an IPv4-mapped IPv6 address.
        host = address.host.removeprefix("::ffff:")
        if ":" not in host:
            return f"ipv4:{host}:{address.port}"
        # A peer is a URI, in which brackets are escaped.
        return f"ipv6:{quote(f'[{address.host}]', safe=':')}:{address.port}"

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """Return the properties of the caller's verified certificate, by grpcio's names."""
        peer = self.call.peer
        if peer.address.scheme != "tls" and peer.certificate is None:
            if peer.address.scheme not in {"tcp", "unix"}:
                return {}
            return {"transport_security_type": [b"insecure"], "security_level": [b"TSI_SECURITY_NONE"]}
        facts: dict[str, Sequence[bytes]] = {
            "transport_security_type": [b"ssl"],
            "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"],
        }
        if peer.certificate is not None:
            subject = dict(part[0] for part in peer.certificate.get("subject", ()))
            if "commonName" in subject:
                facts["x509_common_name"] = [subject["commonName"].encode()]
            if names := [*peer.certificate.get("dns_names", ()), *peer.certificate.get("uris", ())]:
                facts["x509_subject_alternative_name"] = [name.encode() for name in names]
        return facts

    def peer_identity_key(self) -> str | None:
        """Return the name of the property that identifies the caller; None for a caller without a certificate."""
        facts = self.auth_context()
        names = ("x509_subject_alternative_name", "x509_common_name")
        return next((name for name in names if name in facts), None)

    def peer_identities(self) -> Sequence[bytes] | None:
        """Return the values of the property that identifies the caller; None for a caller without a certificate."""
        key = self.peer_identity_key()
        return None if key is None else self.auth_context()[key]

    def time_remaining(self) -> float | None:
        """Return the seconds left before the deadline; None without a deadline."""
        return self.call.remaining()

    # The answer

    def set_code(self, code: Any) -> None:
        """Set the call's final status: a `grpc.StatusCode`, a `fastrpc.Status` or a number."""
        self._code = code
        self._status = status_of(code)

    def set_details(self, details: str) -> None:
        """Set the text of the status."""
        self._text = details

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set the metadata that is sent at the end."""
        self._trailing = pairs_of(trailing_metadata)
        self._given_trailing = trailing_metadata

    def code(self) -> Any:
        """Return the raw status that was set; None before."""
        return self._code

    def _send_initial(self, initial_metadata: Any) -> Any:
        """Return the awaitable that sends the initial metadata, or None if the metadata is sent at the end."""
        call = self.call
        pairs = pairs_of(initial_metadata)
        if not call.has_trailers and call.kind in {"unary", "client_stream"}:
            self._initial = pairs
            return None
        try:
            call.reply_metadata = MetadataPairs(pairs)
        except ValueError as problem:
            raise self._faults.of_metadata(problem, call.method) from None
        return call.send_metadata()

    def _abort(self, code: Any, details: str, trailing_metadata: Any) -> NoReturn:
        if self._aborted is not None:
            raise RuntimeError(f"{self.call.method}: abort was called already")
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        self.set_code(code)
        if details:
            # `abort` with OK becomes UNKNOWN without a text, because OK would look like an answer to the caller.
            self.set_details(details if self._status else "")
        self._status = self._status or Status.UNKNOWN
        self._aborted = self._error(self.abort_error)
        raise self._aborted

    def _error(self, kind: type[CallError] = CallError) -> CallError:
        """Return the error for the status that was set, with the details in the trailing metadata."""
        found = [value for key, value in self._trailing if key == DETAILS_KEY and isinstance(value, bytes)]
        error = kind(self._status, self._text, details=decode_details(found[0]) if found else None)
        error._details_as_sent = found[0] if found else None
        return error

    def _compress_by(self, compressor: str | None) -> None:
        self.call._compress_by(compressor)

    @property
    def has_aborted(self) -> bool:
        """Whether the call fails, even if the servicer continues."""
        return self._aborted is not None

    def takes_over(self, error: CallError) -> bool:
        """Return whether an error of the caller's input goes straight to the caller. Otherwise the servicer gets it."""
        if not self._faults.ends_quietly:
            return False
        self._aborted = error
        return True

    @property
    def _faults(self) -> Any:
        """The rules by which faults are reported to the caller."""
        return self.call.route.definition.faults

    def _travels(self, pair: Pair) -> bool:
        """Return whether an entry of an error's metadata can be sent, and log an entry that cannot."""
        try:
            encode_pairs([pair])
        except (TypeError, ValueError) as problem:
            logger.error(
                "%s: the metadata %.100a of its error is left out: %s", self.call.method, pair.key, problem
            )
            return False
        return True

    def _keep_metadata(self, pairs: Pairs) -> None:
        """Send metadata at the end of the call. As in grpcio, the call fails if the metadata cannot be sent."""
        try:
            self.call.reply_metadata = MetadataPairs(pairs)
        except (TypeError, ValueError) as problem:
            self._aborted = self._faults.of_metadata(problem, self.call.method)

    # The end, for `serving`

    def end(self, error: BaseException | None) -> None:
        """Record that the servicer ended, and set the call's trailing metadata.

        Raises:
            CallError: the servicer set a status, or aborted; otherwise `error` itself ends the call.
        """
        trailing = [pair for pair in self._trailing if pair.key != DETAILS_KEY]
        if error is not None or self._status is not Status.OK:
            trailing = list(filter(self._travels, trailing))
        if trailing and error is None:
            self.call._ensure_head()
        if self._initial or trailing:
            self._keep_metadata((*self._initial, *trailing))
        self.finish()
        if self._aborted is not None:
            if error is not self._aborted and not isinstance(error, asyncio.CancelledError):
                raise self._aborted from error
        elif self._status is not Status.OK and not isinstance(error, CallError):
            if error is None:
                raise self._error()
            if isinstance(error, Exception):
                self._note_crash(error)
                raise self._error() from error

    def _note_crash(self, error: Exception) -> None:
        """Log an exception that followed a set status, and set its text."""
        if not isinstance(error, NotImplementedError):
            logger.error(
                "%s failed after it set the status %s", self.call.method, self._status, exc_info=error
            )
        if isinstance(self._faults, ServicerFaults):
            self._text = self._faults.text_with_status(error, self._text) or ""
        self._text = self._text or f"{self.call.method} failed"

    def _add(self, callback: Callable[[], object]) -> bool:
        """Register a function to call at the end; return False if the call has ended already."""
        if self._is_done:
            return False
        self._callbacks = (*self._callbacks, callback)
        return True

    def finish(self) -> None:
        """Call the functions that were registered for the end of the call."""
        self._is_done = True
        callbacks, self._callbacks = self._callbacks, ()
        for callback in callbacks:
            try:
                with contained("a callback"):
                    callback()
            except Exception:
                logger.exception("%s: a callback at the end of the call failed", self.call.method)


class LoopContext(Context):
    """The context of a handler on the loop."""

    def set_details(self, details: Any) -> None:
        """Set the text of the status."""
        if not isinstance(details, str):
            kind = type(details).__name__
            raise TypeError(f"Argument 'details' has incorrect type (expected str, got {kind})")
        super().set_details(details)

    def details(self) -> str:
        """Return the text that was set; "" before."""
        return self._text

    def trailing_metadata(self) -> Any:
        """Return the metadata that was set; () before."""
        given = self._given_trailing
        return self._trailing if given is None or isinstance(given, Mapping) else tuple(given)

    #: Set if there are interceptors of grpc.aio: they pass encoded messages between the servicer and its stream.
    _messages: Any = None
    _encode: Callable[[Any], bytes] | None = None

    def intercept(self, encode: Callable[[Any], bytes], messages: Any) -> None:
        """Encode sent messages with a function, and read requests from `messages`, which is None without a stream."""
        self._encode, self._messages = encode, messages

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the initial metadata now.

        Raises:
            RuntimeError: the metadata or a message was already sent.
        """
        sending = self._send_initial(initial_metadata)
        if sending is not None:
            await sending

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """End the call with a status, a text and metadata, by raising."""
        self._abort(code, details, trailing_metadata)

    async def abort_with_status(self, status: Any) -> NoReturn:
        """End the call with a `grpc.Status`, by raising."""
        self._abort(status.code, status.details, status.trailing_metadata)

    async def read(self) -> Any:
        """Return the next message of the caller's stream; after the last one `grpc.aio.EOF`, or None without grpcio."""
        messages = self.call.messages if self._messages is None else self._messages
        try:
            return await messages.receive()
        except StreamEndedError:
            return self.end_of_stream

    async def write(self, message: Any) -> None:
        """Send a message of the response stream after waiting for room."""
        stream = self.call.messages
        if stream is None:
            raise RuntimeError(f"{self.call.method} is over, or its answer is not a stream")
        if message is None:
            raise TypeError(f"{self.call.method} wrote None, it must write its messages")
        await _room_in(stream)
        # The message is encoded only when there is room. If other writers use the room first, this writer waits again.
        payloads = deque([stream.encoded(message if self._encode is None else self._encode(message))])
        while payloads:
            stream.send_payloads(payloads)
            if payloads:
                await _room_in(stream)

    def add_done_callback(self, callback: DoneCallback) -> None:
        """Call a function with this context at the end of the call."""
        if not self._add(lambda: callback(self)):
            callback(self)

    def cancelled(self) -> bool:
        """Return whether the caller cancelled the call, or its deadline passed."""
        return self.call.cancelled

    def done(self) -> bool:
        """Return whether the servicer has ended, or aborted."""
        return self._is_done or self.has_aborted

    def set_compression(self, compression: Any) -> None:
        """Compress the messages of the answer by this algorithm, if the caller accepts it."""
        self._compress_by(compressor_of(compression))

    def disable_next_message_compression(self) -> None:
        """Send the next message unchanged."""
        self._compress_by(None)


async def _room_in(stream: ServedStream) -> None:
    """Wait until a message can enter a stream."""
    while (room := stream.wait_where_full()) is not None:
        await room
    if stream.output_ended:
        # The caller has disconnected or cancelled: the servicer is cancelled, too.
        raise asyncio.CancelledError


class ThreadContext(Context):
    """The context of a handler in a thread. Its methods wait for the loop if they need it."""

    #: The text that was set; None before.
    _given_text: str | None = None

    def __init__(self, call: ServerCall) -> None:
        super().__init__(call)
        self._loop = asyncio.get_running_loop()
        self._state = _State(self)

    def details(self) -> bytes | None:
        """Return the text that was set, encoded as in grpcio; None before."""
        return None if self._given_text is None else self._given_text.encode()

    def set_details(self, details: str | bytes) -> None:
        """Set the text of the status."""
        self._given_text = details.decode() if isinstance(details, bytes) else details
        super().set_details(self._given_text)

    def trailing_metadata(self) -> Any:
        """Return the raw metadata that was set; None before."""
        return self._given_trailing

    def on_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function on the loop, await its return value, and return the result."""

        async def run() -> Any:
            found = function(*args)
            return await found if hasattr(found, "__await__") else found

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the initial metadata now.

        Raises:
            RuntimeError: the metadata or a message was already sent.
        """
        self.on_loop(self._send_initial, initial_metadata)

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """End the call with a status, a text and metadata, by raising."""
        self._abort(code, details, trailing_metadata)

    def abort_with_status(self, status: Any) -> NoReturn:
        """End the call with a `grpc.Status`, by raising."""
        self.set_trailing_metadata(status.trailing_metadata)
        self._abort(status.code, status.details, ())

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """Call a function when the call ends or is cancelled. Return False if the call has already ended."""
        return self._add(callback)

    def cancel(self) -> bool:
        """Cancel the call."""
        self._loop.call_soon_threadsafe(self.call.connection.gate.cancel_call, self.call)
        return True

    def is_active(self) -> bool:
        """Return whether the call is still running."""
        return not (self._is_done or self.call.cancelled)

    def set_compression(self, compression: Any) -> None:
        """Compress the messages of the answer by this algorithm, if the caller accepts it."""
        self.on_loop(self._compress_by, compressor_of(compression))

    def disable_next_message_compression(self) -> None:
        """Send the next message unchanged."""
        self.on_loop(self._compress_by, None)


class _State:
    """The state of a call, with the attribute names of grpcio's private class, which popular middleware reads."""

    def __init__(self, context: ThreadContext) -> None:
        self._context = context

    @property
    def client(self) -> str:
        """Whether the caller still waits: "open" or "cancelled"."""
        return "cancelled" if self._context.call.cancelled else "open"

    @property
    def code(self) -> Any:
        """The status that was set; None before."""
        return self._context.code()

    @code.setter
    def code(self, code: Any) -> None:
        self._context.set_code(code)

    @property
    def details(self) -> bytes | None:
        """The text that was set, encoded; None before."""
        return self._context.details()

    @details.setter
    def details(self, details: str | bytes) -> None:
        self._context.set_details(details)

    @property
    def trailing_metadata(self) -> Any:
        """The metadata that was set; None before."""
        return self._context.trailing_metadata()

    @property
    def aborted(self) -> bool:
        """Whether `abort` was called."""
        return self._context.has_aborted
