"""The interface of a protocol: a name, a detector of its first bytes, and an engine."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from fastrpc._core.framing.settings import Settings
from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.openings import Openings
from fastrpc.config import ServerConfig
from fastrpc.config.validation import SERVER_PROTOCOLS
from fastrpc.errors import ConfigError

__all__ = ["Protocol", "ServerEngine", "ServerParts", "Verdict", "protocol_named", "register"]


class Verdict(Enum):
    """The result of detection: whether the first bytes match a protocol."""

    YES = auto()
    NO = auto()
    #: More bytes are needed.
    MORE = auto()


@dataclass(frozen=True, kw_only=True)
class ServerParts:
    """The parts that all connections of a server share."""

    loop: asyncio.AbstractEventLoop
    gate: Gate
    openings: Openings
    config: ServerConfig
    #: The settings that the native protocol announces, and how long it polls.
    settings: Settings
    spin_microseconds: int
    #: Whether callers may list the services.
    reveals_services: bool


#: Makes the session of a connection: an asyncio protocol, with `begin_drain`, `has_drained`, `end_calls`, `close`,
#: `abort` and `stats` for the server. `Gate.sessions` holds it while its connection is open.
ServerEngine = Callable[[ServerParts], Any]


@dataclass(frozen=True)
class Protocol:
    """A protocol that servers can speak."""

    name: str
    #: Takes the bytes received so far, at most 256.
    detect: Callable[[bytes], Verdict]
    server_engine: ServerEngine


_protocols: dict[str, Protocol] = {}


def register(name: str, detect: Callable[[bytes], Verdict], server_engine: ServerEngine) -> None:
    """Register a protocol for servers: `ServerConfig(protocols=("native", name))`.

    Raises:
        ConfigError: another protocol has that name.
    """
    protocol = Protocol(name, detect, server_engine)
    if _protocols.setdefault(name, protocol) != protocol:
        raise ConfigError(f"protocol {name!r} is registered already", hint="choose another name")
    if name not in SERVER_PROTOCOLS:
        SERVER_PROTOCOLS.append(name)


def protocol_named(name: str) -> Protocol:
    """Return a registered protocol; `ServerConfig` has already refused unknown names."""
    return _protocols[name]
