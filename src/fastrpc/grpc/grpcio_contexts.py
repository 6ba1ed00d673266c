"""Contexts that are instances of grpcio's classes, for programs that import grpcio."""

from typing import Any

import grpc

from fastrpc.errors import CallError
from fastrpc.grpc.contexts import LoopContext, ThreadContext
from fastrpc.status import Status

__all__ = ["AbortError", "AioContext", "PooledContext", "code_of"]

_CODES = {Status(code.value[0]): code for code in grpc.StatusCode}


def code_of(status: Status) -> grpc.StatusCode:
    """Return grpcio's name of a status."""
    return _CODES[status]


class AbortError(CallError, grpc.aio.AbortError):  # type: ignore[misc]
    """Raised by `abort`; interceptors and servicers written for grpcio distinguish it from other exceptions."""


class AioContext(LoopContext, grpc.aio.ServicerContext):  # type: ignore[misc]
    """The context of a handler on the loop."""

    abort_error = AbortError
    end_of_stream: Any = grpc.aio.EOF


class PooledContext(ThreadContext, grpc.ServicerContext):  # type: ignore[misc]
    """The context of a handler in a thread."""
