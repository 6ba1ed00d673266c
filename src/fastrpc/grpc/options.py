"""Options of channels and servers, `("grpc.name", value)`, as settings of fastrpc.

Options without a counterpart are named in one warning. An option is ignored silently if its value describes what
fastrpc does anyway.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final, NamedTuple

from fastrpc.config import TLS, Backoff, ClientConfig, Limits, ServerConfig
from fastrpc.config.validation import LARGEST_SIZE
from fastrpc.grpc.message_limits import MessageLimits
from fastrpc.grpc.names import compressor_of
from fastrpc.tracebacks import frames_to_program

__all__ = ["ChannelOptions", "SendingLimits", "ServerOptions", "channel_options", "server_options"]

#: The protocol of channels and servers.
WIRE = "grpc"

#: The lowest value of `Limits.message_bytes`.
LEAST_MESSAGE: Final = 4_096

#: A day: the longest wait for a ping that settings allow.
_LONGEST: Final = 86_400.0
#: gRPC's value in milliseconds for a time without limit.
_NEVER: Final = 2**31 - 1


class SendingLimits(Limits):
    """Limits for received messages only: sent messages have the limit of an option, or none, as in grpcio."""

    @property
    def _sent_bytes(self) -> int:
        return LARGEST_SIZE


class ChannelOptions(NamedTuple):
    """The options of a channel."""

    config: ClientConfig
    #: The text of `grpc.service_config`.
    service_config: str | None = None
    #: The balancing policy: "pick_first" or "round_robin".
    policy: str | None = None
    #: Whether policies of the service config may retry.
    retries: bool = True
    limits: MessageLimits = MessageLimits()


class ServerOptions(NamedTuple):
    """The options of a server."""

    config: ServerConfig
    reuse_port: bool = True
    compressor: str | None = None
    limits: MessageLimits = MessageLimits()


def _seconds(milliseconds: int) -> float | None:
    return None if milliseconds >= _NEVER or milliseconds < 0 else max(0.01, milliseconds / 1000)


def _part(part: str, **changes: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a function that sets fields in a part of a configuration to the value of an option."""

    def change(config: Any, value: Any) -> Any:
        new = replace(getattr(config, part), **{name: function(value) for name, function in changes.items()})
        return replace(config, **{part: new})

    return change


def _with_message_limits(config: Any, sizes: Mapping[str, int | None]) -> tuple[Any, MessageLimits]:
    """Return settings that limit only received messages, and the other limits, which settings cannot express.

    Args:
        sizes: the limits that options set, by direction; None: any size.
    """
    limits = MessageLimits(**sizes)
    values = {one.name: getattr(config.limits, one.name) for one in fields(config.limits)}
    if "received" in sizes:
        most = LARGEST_SIZE if limits.received is None else min(limits.received, LARGEST_SIZE)
        values["message_bytes"] = max(LEAST_MESSAGE, most)
        if most >= LEAST_MESSAGE:
            # The settings enforce this limit: a longer message is refused before it has arrived completely.
            limits = limits._replace(received=None)
    return replace(config, limits=SendingLimits(**values)), limits


def _keepalive_interval(value: int) -> float | None:
    seconds = _seconds(value)
    return None if seconds is None else min(seconds, _LONGEST)


_SHARED: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "grpc.max_metadata_size": _part("limits", metadata_bytes=lambda value: max(1_024, min(value, 65_535))),
    "grpc.keepalive_time_ms": _part("keepalive", interval=_keepalive_interval),
    "grpc.keepalive_timeout_ms": _part(
        "keepalive", timeout=lambda value: min(_seconds(value) or _LONGEST, _LONGEST)
    ),
    "grpc.http2.lookahead_bytes": _part("limits", stream_window_bytes=lambda value: max(16_384, value)),
}

_OF_CHANNELS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    **_SHARED,
    "grpc.client_idle_timeout_ms": _part("timeouts", idle=_seconds),
    "grpc.initial_reconnect_backoff_ms": _part("backoff", first=lambda value: max(0.001, value / 1000)),
    "grpc.min_reconnect_backoff_ms": _part("timeouts", connect=lambda value: max(0.001, value / 1000)),
    "grpc.max_reconnect_backoff_ms": _part("backoff", longest=lambda value: max(0.001, value / 1000)),
}

_OF_SERVERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    **_SHARED,
    "grpc.max_concurrent_streams": _part(
        "limits", concurrent_calls=lambda value: max(1, value), streams=lambda value: max(1, value)
    ),
    "grpc.max_connection_age_ms": _part("keepalive", max_age=_seconds),
    "grpc.max_connection_age_grace_ms": _part("timeouts", drain=_seconds),
    "grpc.max_connection_idle_ms": _part("timeouts", idle=_seconds),
    "grpc.http2.min_ping_interval_without_data_ms": _part(
        "keepalive", minimum_interval=lambda value: min(value / 1000, 3_600)
    ),
    "grpc.http2.min_recv_ping_interval_without_data_ms": _part(
        "keepalive", minimum_interval=lambda value: min(value / 1000, 3_600)
    ),
}

#: The direction of each option for the size of a message.
_SIZES: Final = {"grpc.max_send_message_length": "sent", "grpc.max_receive_message_length": "received"}

#: Options that are ignored silently, with the values that describe what fastrpc does anyway; None: any value.
_RULES: Final[Mapping[str, tuple[Any, ...] | None]] = {
    "grpc.enable_http_proxy": (0, False),
    "grpc.use_local_subchannel_pool": None,
    "grpc.keepalive_permit_without_calls": (1, True),
    "grpc.http2.max_pings_without_data": (0,),
    "grpc.http2.bdp_probe": (1, True),
    "grpc.per_rpc_retry_buffer_size": None,
    "grpc.experimental.tcp_min_read_chunk_size": None,
    "grpc.experimental.tcp_max_read_chunk_size": None,
}


def channel_options(
    options: Iterable[tuple[str, Any]] | None, compression: Any, tls: TLS | None
) -> ChannelOptions:
    """Return the settings of a client for the options of a channel."""
    timeouts = replace(ClientConfig().timeouts, call=None)
    config = ClientConfig(wire_protocol=WIRE, timeouts=timeouts)
    found: dict[str, Any] = {}
    sizes: dict[str, int | None] = {}
    compressor = compressor_of(compression)
    for name, value in options or ():
        if name in _OF_CHANNELS:
            config = _OF_CHANNELS[name](config, value)
        elif name in _SIZES:
            sizes[_SIZES[name]] = _size(value)
        elif name == "grpc.ssl_target_name_override" and tls is not None:
            tls = replace(tls, server_name=value)
        elif name == "grpc.service_config":
            found["service_config"] = value
        elif name == "grpc.lb_policy_name" and value in {"pick_first", "round_robin"}:
            found["policy"] = value
        elif name == "grpc.enable_retries":
            found["retries"] = bool(value)
        elif name == "grpc.default_compression_algorithm":
            compressor = _COMPRESSORS.get(value)
        else:
            _warn_unless_known(name, value, "channel")
    config = replace(config, compressor=compressor, tls=tls, backoff=_ordered(config.backoff))
    config, limits = _with_message_limits(config, sizes)
    return ChannelOptions(config, limits=limits, **found)


def server_options(
    options: Iterable[tuple[str, Any]] | None, compression: Any, config: ServerConfig | None
) -> ServerOptions:
    """Return the settings of a server: `config`, changed by the options."""
    # Without given settings callers get the texts of exceptions, as in grpcio.
    made = ServerConfig(expose_errors=True) if config is None else config
    sizes: dict[str, int | None] = {}
    if WIRE not in made.protocols:
        made = replace(made, protocols=(*made.protocols, WIRE))
    found: dict[str, Any] = {"compressor": compressor_of(compression)}
    for name, value in options or ():
        if name in _OF_SERVERS:
            made = _OF_SERVERS[name](made, value)
        elif name in _SIZES:
            sizes[_SIZES[name]] = _size(value)
        elif name == "grpc.so_reuseport":
            found["reuse_port"] = bool(value)
        elif name == "grpc.default_compression_algorithm":
            found["compressor"] = _COMPRESSORS.get(value)
        else:
            _warn_unless_known(name, value, "server")
    made, limits = _with_message_limits(made, sizes)
    return ServerOptions(made, limits=limits, **found)


def _size(value: int) -> int | None:
    """Return the size that an option sets; None for the value that means no limit."""
    return None if value < 0 else value


#: The numbers of compressions in options.
_COMPRESSORS: Final = {1: "deflate", 2: "gzip"}


def _ordered(backoff: Backoff) -> Backoff:
    return replace(backoff, first=min(backoff.first, backoff.longest))


def _warn_unless_known(name: str, value: Any, place: str) -> None:
    rules = _RULES.get(name, ())
    if rules is not None and value not in rules:
        warnings.warn(
            f"the option {name!r} of a gRPC {place} has no counterpart in fastrpc and is left out",
            UserWarning,
            stacklevel=frames_to_program(),
        )
