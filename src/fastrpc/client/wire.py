"""The wire protocol of a connection: from the client's settings, else from the endpoint's record."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastrpc.config import ClientConfig
from fastrpc.config.validation import WIRE_PROTOCOLS
from fastrpc.endpoint import Address, Endpoint, copied
from fastrpc.errors import ConfigError
from fastrpc.protocols.base import Protocol, client_protocol

__all__ = ["carries_streams", "check_compressor", "dialed_target", "protocol_of", "wire_of"]

#: The schemes of targets that name the wire protocol, too.
_GRPC = ("grpc://", "grpcs://")


def wire_of(endpoint: Endpoint, config: ClientConfig) -> str:
    """Return the name of the protocol of connections to an endpoint.

    It is the client's setting, else the first of WIRE_PROTOCOLS in the endpoint's record, else the first of all.
    """
    if config.wire_protocol is not None:
        return config.wire_protocol
    return next((wire for wire in WIRE_PROTOCOLS if wire in endpoint.protocols), WIRE_PROTOCOLS[0])


def protocol_of(endpoint: Endpoint, config: ClientConfig) -> Protocol:
    """Return the protocol of connections to an endpoint."""
    return client_protocol(wire_of(endpoint, config))


def carries_streams(endpoint: Endpoint, config: ClientConfig) -> bool:
    """Return whether streams can go to an endpoint: rpcx and Phobos have no streams."""
    return protocol_of(endpoint, config).traits.has_streams


def dialed_target(target: Any, config: ClientConfig) -> tuple[Any, ClientConfig]:
    """Return a client's target with the schemes of transports, and its settings: `grpc://` sets `wire_protocol`.

    Raises:
        ConfigError: only some of the addresses have such a scheme, or the settings name another protocol.
    """
    if isinstance(target, str | Address | Endpoint):
        return (_dialed(target), _speaking_grpc(config)) if _is_of_grpc(target) else (target, config)
    if not isinstance(target, Sequence) or not any(map(_is_of_grpc, target)):
        return target, config
    if not all(map(_is_of_grpc, target)):
        raise ConfigError(
            "only some of the addresses are grpc:// or grpcs://",
            hint="give all of them so, or all with the schemes of transports and ClientConfig(wire_protocol=…)",
        )
    return [_dialed(one) for one in target], _speaking_grpc(config)


def _is_of_grpc(place: Any) -> bool:
    return isinstance(place, str | Address | Endpoint) and str(place).lower().startswith(_GRPC)


def _dialed(place: str | Address | Endpoint) -> Address | Endpoint:
    if not isinstance(place, Endpoint):
        return Address.parse(place).dialed()
    return copied(place, address=place.address.dialed())


def _speaking_grpc(config: ClientConfig) -> ClientConfig:
    if config.wire_protocol not in {None, "grpc"}:
        raise ConfigError(
            f"the target is called by gRPC, and ClientConfig.wire_protocol is {config.wire_protocol!r}",
            hint="leave one of the two out",
        )
    return replace(config, wire_protocol="grpc")


def check_compressor(name: str | None, wire: str | None) -> None:
    """Refuse a compressor that the protocol of all connections lacks; None: each connection has its own protocol.

    Raises:
        ConfigError: the protocol has other compressors.
    """
    has = None if wire is None else client_protocol(wire).traits.compressors
    if name is not None and has is not None and name not in has:
        raise ConfigError(f"compressor is {name!r}, and {wire} has {', '.join(has)}")
