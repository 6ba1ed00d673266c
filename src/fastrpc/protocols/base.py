"""What a protocol is to a server: a name, how a connection of it begins, and what speaks it."""

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
    """Whether a connection speaks a protocol, by its first bytes."""

    YES = auto()
    NO = auto()
    #: More bytes are needed to say.
    MORE = auto()


@dataclass(frozen=True, kw_only=True)
class ServerParts:
    """What the connections of one server are made of."""

    loop: asyncio.AbstractEventLoop
    gate: Gate
    openings: Openings
    config: ServerConfig
    #: What the native protocol announces, and how long it polls.
    settings: Settings
    spin_microseconds: int
    #: Whether callers may ask which services there are.
    reveals_services: bool


#: Makes the session of a connection: an asyncio protocol, with `begin_drain`, `has_drained`, `end_calls`, `close`,
#: `abort` and `stats` for the server. While its connection stands it is one of `Gate.sessions`.
ServerEngine = Callable[[ServerParts], Any]


@dataclass(frozen=True)
class Protocol:
    """A protocol that servers can speak."""

    name: str
    #: Asked with what has come so far, at most 256 bytes.
    detect: Callable[[bytes], Verdict]
    server_engine: ServerEngine


_protocols: dict[str, Protocol] = {}


def register(name: str, detect: Callable[[bytes], Verdict], server_engine: ServerEngine) -> None:
    """Let servers speak a protocol: `ServerConfig(protocols=("native", name))`.

    Raises:
        ConfigError: another protocol has that name.
    """
    protocol = Protocol(name, detect, server_engine)
    if _protocols.setdefault(name, protocol) != protocol:
        raise ConfigError(f"protocol {name!r} is registered already", hint="give the other one another name")
    if name not in SERVER_PROTOCOLS:
        SERVER_PROTOCOLS.append(name)


def protocol_named(name: str) -> Protocol:
    """Return a registered protocol; `ServerConfig` knows no others."""
    return _protocols[name]
