"""Warn programs whose tracing wraps functions of grpcio, which are not called any more after the switch to fastrpc.

OpenTelemetry's `GrpcInstrumentorServer` and the like replace the functions that make servers and channels of grpc and
grpc.aio. Other functions make servers and channels of fastrpc, so spans would be missing without any error.
"""

import logging
from typing import Any, Final

import grpc
import grpc.aio

__all__ = ["warn_of_wrapped"]

logger = logging.getLogger("fastrpc.grpc")

_OPENTELEMETRY: Final = "opentelemetry.instrumentation.grpc"

#: For each function of grpcio, its counterpart here and the replacement for the wrapper.
_REPLACEMENTS: Final = {
    "grpc.server": (
        "fastrpc.grpc.server",
        f"give it interceptors=[{_OPENTELEMETRY}.server_interceptor()]",
    ),
    "grpc.aio.server": (
        "fastrpc.grpc.aio.server",
        f"give it interceptors=[{_OPENTELEMETRY}.aio_server_interceptor()]",
    ),
    "grpc.insecure_channel": (
        "fastrpc.grpc.insecure_channel",
        f"pass it to {_OPENTELEMETRY}.grpcext.intercept_channel(channel, {_OPENTELEMETRY}.client_interceptor())",
    ),
    "grpc.secure_channel": (
        "fastrpc.grpc.secure_channel",
        f"pass it to {_OPENTELEMETRY}.grpcext.intercept_channel(channel, {_OPENTELEMETRY}.client_interceptor())",
    ),
    "grpc.aio.insecure_channel": (
        "fastrpc.grpc.aio.insecure_channel",
        f"give it interceptors={_OPENTELEMETRY}.aio_client_interceptors()",
    ),
    "grpc.aio.secure_channel": (
        "fastrpc.grpc.aio.secure_channel",
        f"give it interceptors={_OPENTELEMETRY}.aio_client_interceptors()",
    ),
}

#: The functions for which the warning was logged.
_told: set[str] = set()


def warn_of_wrapped(name: str, interceptors: Any = ()) -> None:
    """Log a warning, once per function, if something wraps a function of grpcio that fastrpc does not call.

    Args:
        interceptors: the interceptors of the new server or channel; nothing is logged if OpenTelemetry's are among
            them.
    """
    if name in _told:
        return
    wrapper = _wrapper_of(name)
    if wrapper is None or any(type(one).__module__.startswith(_OPENTELEMETRY) for one in interceptors or ()):
        return
    _told.add(name)
    ours, way = _REPLACEMENTS[name]
    logger.warning(
        "%s is wrapped (%s), which does not reach %s: %s",
        name,
        wrapper,
        ours,
        f"{way} in place of its instrumentor"
        if wrapper.startswith(_OPENTELEMETRY)
        else f"{way}, or the interceptor of that library",
        extra={"event": "wrapped_function"},
    )


def _wrapper_of(name: str) -> str | None:
    """Return the wrapper of a grpcio function: its module, or its type; None if it is unwrapped."""
    module, _, attribute = name.rpartition(".")
    function = getattr(grpc.aio if module == "grpc.aio" else grpc, attribute)
    found = getattr(function, "__module__", None) or ""
    if found.startswith("fastrpc."):
        # The program has replaced grpcio's function by ours.
        return None
    if found != "grpc" and not found.startswith("grpc."):
        return found or type(function).__name__
    if not hasattr(function, "__wrapped__"):
        return None
    # A wrapper may report the module of the wrapped function, as `wrapt`'s wrappers do. In that case the module of the
    # wrapping function is returned.
    caller = getattr(function, "_self_wrapper", None)
    return getattr(caller, "__module__", None) or type(function).__module__
