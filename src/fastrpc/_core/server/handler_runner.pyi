from logging import Logger
from typing import Any, final

from fastrpc._core.calls.call_log import CallLog
from fastrpc._core.calls.invocation import Chain
from fastrpc._core.loop.handler_task import HandlerTask
from fastrpc._core.server.output_room import OutputRoom
from fastrpc._core.server.served_call import ServerCall
from fastrpc.compressors.base import Compressor

logger: Logger

@final
class ServerTask(HandlerTask):
    """The task of a handler; in the handler `asyncio.current_task()` returns it."""

@final
class HandlerRunner:
    """Run the handlers of one server, and send their outcomes.

    Args:
        room: the room for results and errors.
        dispatcher: the server's Python part: threads, interceptors, answers to errors.
        compressors: the compressors by their numbers in requests.
    """

    compress_above: int
    #: The interceptors around calls; None without any.
    chain: Chain | None
    #: Whether results are checked against their annotations before they are sent.
    checks_results: bool
    #: Nanoseconds that a stream may wait for its peer; 0: no limit.
    stream_idle_ns: int
    #: Whether `dispatcher.changed` is called at the end of each call.
    is_watched: bool
    #: Notified of the end of each call.
    call_log: CallLog | None

    def __init__(self, room: OutputRoom, dispatcher: Any, compressors: dict[int, Compressor]) -> None: ...
    @property
    def room(self) -> OutputRoom:
        """The room for results and errors."""

    @property
    def dispatcher(self) -> Any: ...
    @property
    def compressors(self) -> dict[int, Compressor]: ...
    @property
    def running(self) -> int:
        """Calls started and not ended."""

    def thread_finished(self, call: ServerCall, value: Any, error: BaseException | None) -> None:
        """Take the outcome of a handler that ran in a thread; called on the loop. ValueError if `call` has none."""

    def packed(self, call: ServerCall, payload: bytes, is_smaller: bool, error: BaseException | None) -> None:
        """Answer with a payload that was compressed in slices, or with the error; called by the dispatcher.

        ValueError if no answer of `call` is compressed.
        """
