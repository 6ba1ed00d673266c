from asyncio import Future
from collections.abc import Coroutine
from typing import Any, final

from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calling.coroutine_call import CoroutineCall
from fastrpc._core.native.connection import Connection
from fastrpc.compressors.base import Compressor
from fastrpc.errors import DeadlineExceededError, EncodeError

async def slept(seconds: float) -> None:
    """Sleep for no less than so many seconds."""

class PickedCall(CoroutineCall):
    """What the endpoint set gave a place, one call or a batch of them."""

    @property
    def _options(self) -> ViewOptions: ...
    @property
    def hash_key(self) -> str | bytes | int | None:
        """What the caller gave to place it by, or None."""

    @property
    def _is_attempt(self) -> bool:
        """Whether it is an attempt of another call."""

@final
class EncodedRequest:
    """The arguments of a call, encoded, and compressed once that is done."""

@final
class ClientCall(PickedCall):
    """What `call`, `request` and `notify` return: awaiting it makes the call."""

    @property
    def _is_one_way(self) -> bool:
        """Whether `notify` made it, which nothing answers."""

    @property
    def _wants_reply(self) -> bool:
        """Whether `request` made it, which returns more than the value."""

    @property
    def arguments(self) -> tuple[Any, ...]: ...
    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait, in an interceptor."""

    @property
    def endpoint(self) -> Any:
        """Where it went last, or None."""

    @property
    def retry_policy(self) -> Any:
        """The rules and the budget of its client."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    # For the runner

    @property
    def _streamed(self) -> tuple[tuple[Any, ...], dict[str, Any] | None] | None:
        """The arguments by position and by name where one of them is a stream of messages, else None."""

    def _finish_unpacked(self) -> Any:
        """Return what the answer stands for, now that it is decompressed."""

    def _await_output(self, session: Connection, future: Future[None]) -> bool:
        """Have a future done once the output of a connection has left; return whether there is anything to wait for."""

    def _start_clock(self) -> None:
        """Give the call its options and deadline before any attempt.

        Raises:
            DeadlineExceededError: no time is left.
        """

    def _attempt_on(self, session: Connection, number: int) -> ClientCall:
        """Return a coroutine that makes attempt `number` on a connection, within the call's deadline."""

    @property
    def _to_pack(self) -> tuple[Compressor, bytes]:
        """The compressor and the encoded arguments, which are to be compressed in slices."""

    def _with_packed(self, payload: bytes, is_smaller: bool) -> ClientCall:
        """Return the attempt that sends the arguments as they are now.

        Raises:
            UnavailableError: its connection takes no calls any more.
        """

    def _overdue(self) -> DeadlineExceededError:
        """Return the error of an attempt whose deadline passed before it was sent."""

    def _unpackable(self, error: Exception) -> EncodeError:
        """Return the error of arguments that cannot be compressed."""

    def _lose(self) -> None:
        """Note that another attempt was faster: when this one is cancelled, the server is told why."""

    def _adopt(self, attempt: ClientCall) -> None:
        """Take over what an attempt learned: the answer's metadata, where it came from, when it ended."""
