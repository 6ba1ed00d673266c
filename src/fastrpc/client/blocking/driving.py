"""Running coroutines without an event loop: interceptors and fail modes of a `SyncClient`."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import FrameType
from typing import Any

from fastrpc._core.calls.invocation import Chain

__all__ = ["advance", "drive"]

_RULE = "interceptors and fail modes of a SyncClient may await proceed, call.sleep() and other interceptors"

#: The modules whose functions are left out of paths in messages.
_OWN = (Chain.__module__, "fastrpc.client.")


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end without an event loop.

    Raises:
        RuntimeError: the coroutine awaits something that needs a loop; the message names it.
    """
    return advance(coroutine, partial(coroutine.send, None))


def advance(coroutine: Coroutine[Any, Any, Any], step: Callable[[], Any], pause: object = None) -> Any:
    """Advance a coroutine by `step`, its `send` or `throw`; return its result, or `pause` if it awaits that object.

    Raises:
        RuntimeError: the coroutine awaits something that needs a loop; the message names it.
    """
    try:
        awaited = step()
    except StopIteration as end:
        return end.value
    except (RuntimeError, AttributeError) as error:
        if not _misses_loop(error):
            raise
        raise RuntimeError(f"{_path_of_error(error)} needs an event loop; {_RULE}") from error
    if pause is not None and awaited is pause:
        return pause
    refusal = RuntimeError(f"{_path_of_wait(coroutine, awaited)} needs an event loop; {_RULE}")
    try:
        # The refusal is raised inside the coroutine, so that its traceback shows the await. If it is not caught, it is
        # raised here, too.
        coroutine.throw(refusal)
    except StopIteration as end:
        return end.value
    # The coroutine caught `refusal` and awaits again.
    coroutine.close()
    raise refusal


def _misses_loop(error: RuntimeError | AttributeError) -> bool:
    """Return whether an error is due to a missing loop: none is running, or an asyncio object has None as its loop."""
    if isinstance(error, AttributeError):
        return error.obj is None and error.name in {"create_future", "create_task", "call_later", "call_at"}
    return error.args == ("no running event loop",)


def _path_of_error(error: BaseException) -> str:
    """Return the functions that an error passed through, from the interceptor inwards."""
    frames = []
    place = error.__traceback__
    while place is not None:
        frames.append(place.tb_frame)
        place = place.tb_next
    return _path(frames)


def _path_of_wait(coroutine: Any, awaited: Any) -> str:
    """Return the functions that wait, from the interceptor inwards, and the awaited object."""
    frames = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    path = _path(frames)
    return path if awaited is None else f"{path} → {awaited!r}"


def _path(frames: Sequence[FrameType]) -> str:
    return " → ".join(
        f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        for frame in frames
        if not str(frame.f_globals.get("__name__")).startswith(_OWN)
    )
