from collections.abc import Sequence
from typing import final

from fastrpc._core.calls.calling_part import CallingPart
from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.io.client_life import ClientLife
from fastrpc._core.io.engine import PythonEngine
from fastrpc._core.wire.settings import WireSettings
from fastrpc.endpoint import Endpoint
from fastrpc.protocols.base import ClientParts

@final
class PythonCalls(CallingPart):
    """The client's calls on a connection whose engine is written in Python."""

    @property
    def calls(self) -> Sequence[ClientCall]:
        """The calls under way, oldest first."""

    def codec_of(self, call: ClientCall) -> str:
        """Return the name of the codec of a call's payload."""

    def tell_crowd(self, engine: CallingEngine) -> None:
        """Notify the owner that many calls are in progress. The queue of the loop holds the engine until then."""

    def takes_thread(self, now: int, rested_ns: int) -> bool:
        """Return whether a thread may send a new call, judged by the age and the idle time of the connection."""

class CallingEngine(PythonEngine):
    """The client's side of one connection, for protocols in Python, and for clients of loops and of threads.

    A subclass implements `send_call` and `receive_data`, and `cancel_call` if its protocol can cancel. It calls `ready`
    once the server has answered the opening, at once without an opening. `fastrpc.protocols.base.register` takes the
    class as `client_engine`.

    Args:
        parts: the parts of the connection.
    """

    def __init__(self, parts: ClientParts) -> None: ...

    # Implemented by an engine in Python

    def send_call(self, call: ClientCall, payload: bytes) -> None:
        """Send a call, and remember it until it ends; `payload` is in the call's codec.

        `call.method`, `call.remaining()`, `call.metadata` and `own_calls.codec_of(call)` give the rest. An error raised
        here is the error of the call.
        """

    def cancel_call(self, call: ClientCall, reason: int) -> None:
        """Notify the server that a call is given up, if the protocol can; `reason` is one of CANCEL in PROTOCOL.md."""

    # Called by the engine in Python

    def ready(self) -> None:
        """Note that the server has answered the opening: calls may rely on its settings."""

    def answer(self, call: ClientCall, payload: bytes) -> None:
        """End a call with its answer, in the codec of the call; does nothing if the call is over."""

    def fail(
        self,
        call: ClientCall,
        status: int,
        text: str,
        *,
        has_run: bool | None = True,
        retry_after: float = 0.0,
    ) -> None:
        """End a call with the server's error; does nothing if the call is over.

        Args:
            has_run: whether its handler ran; None: unknown. A call that did not run may be tried again.
            retry_after: seconds before it may be tried again; 0: unknown.

        Raises:
            ValueError: the status is OK or unknown.
        """

    def leave(self) -> None:
        """Note that the server takes no new calls here; calls under way continue."""

    @property
    def own_calls(self) -> PythonCalls:
        """The calls under way."""

    @property
    def protocol(self) -> str:
        """The name of its protocol."""

    @property
    def credential(self) -> bytes | None:
        """The token to show the server, or None."""

    # For the client (`fastrpc.protocols.base.ClientEngine`)

    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def peer(self) -> WireSettings: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def life(self) -> ClientLife:
        """The rules of its opening, age and rest."""

    @property
    def closed_text(self) -> str | None: ...
    @property
    def auth_status(self) -> int: ...
    @property
    def auth_text(self) -> str | None: ...
    @property
    def peer_replaces(self) -> bool: ...
    @property
    def calls_in_flight(self) -> int: ...
    def await_crowd(self, calls: int) -> None: ...
    def begin_probe(self, call: ClientCall) -> None: ...
    def end_probe(self, call: ClientCall) -> None: ...
    def present(self, token: bytes) -> None: ...
    def retire(self) -> None: ...
    def close(self, reason: int = 0, text: str = "") -> None: ...
    def stats(self) -> dict[str, int]: ...
