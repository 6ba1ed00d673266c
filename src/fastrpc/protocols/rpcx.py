"""rpcx and Phobos, which have the same frames, on the server side."""

from functools import partial

from fastrpc._core.rpcx.frames import PHOBOS, RPCX, Profile
from fastrpc._core.rpcx.server_wire import RpcxWire
from fastrpc._core.server.link import Link
from fastrpc.protocols.base import Match, ServerParts, linked, register

__all__ = ["detect", "server_engine"]


def detect(profile: Profile, data: bytes) -> Match:
    """Return whether a connection begins with the magic of a profile. The engine checks the remaining bytes.

    If a Phobos process has ever served rpcx, its first frame begins with rpcx's magic.
    """
    if not data:
        return Match.MORE
    if data[0] == profile.magic:
        return Match.YES
    return Match.OTHERWISE if profile.is_loose and data[0] == RPCX.magic else Match.NO


def server_engine(profile: Profile, parts: ServerParts) -> Link:
    """Make the engine of a connection."""
    is_shared = profile is RPCX and PHOBOS.name in parts.config.protocols
    return linked(RpcxWire(profile, parts.config.limits, derived=PHOBOS if is_shared else None), parts)


for _profile in (RPCX, PHOBOS):
    register(_profile.name, partial(detect, _profile), partial(server_engine, _profile))
