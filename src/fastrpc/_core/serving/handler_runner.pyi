from logging import Logger
from typing import Any, final

from fastrpc._core.loop.handler_task import HandlerTask
from fastrpc._core.serving.admission import Admission
from fastrpc._core.serving.served_call import ServerCall
from fastrpc.compressors.base import Compressor

logger: Logger

@final
class ServerTask(HandlerTask):
    """The task a handler runs in: what `asyncio.current_task()` gives there."""

@final
class HandlerRunner:
    """Runs the handlers of one server, and answers for them.

    Args:
        admission: the server's gate, which counts what handlers hold.
        dispatcher: the server's Python part: threads, interceptors, what a caller is told of an error.
        compressors: by the numbers of requests.
    """

    compress_above: int
    has_interceptors: bool
    #: Whether results are checked against their annotations before they are sent.
    checks_results: bool
    #: Whether `dispatcher.changed` is to be called as each call ends.
    is_watched: bool

    def __init__(self, admission: Admission, dispatcher: Any, compressors: dict[int, Compressor]) -> None: ...
    @property
    def dispatcher(self) -> Any: ...
    @property
    def compressors(self) -> dict[int, Compressor]: ...
    @property
    def running(self) -> int:
        """Calls started and not ended."""

    def thread_finished(self, call: ServerCall, value: Any, error: BaseException | None) -> None:
        """Answer for a handler that ran in a thread; called on the loop. ValueError if `call` has none."""
