"""Targets of channels in gRPC's form, converted to a client's addresses and its selector."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError, UnavailableError

__all__ = ["ChannelTarget", "PickFirst", "target_of"]

#: The port of a target without one.
DEFAULT_PORT = 443

_HINT = "write host:port, dns:///host:port, ipv4:127.0.0.1:50051, ipv6:[::1]:50051 or unix:/path"


class ChannelTarget(NamedTuple):
    """The target of a client, and the selector of its endpoints. A single endpoint needs no selector: None."""

    target: str | list[str]
    selector: Any


class PickFirst:
    """Picks the first endpoint, and the next endpoint after an attempt failed to reach the current one."""

    def __init__(self) -> None:
        self._endpoints: Sequence[Endpoint] = ()
        self._failed: Endpoint | None = None

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints."""
        self._endpoints = endpoints

    def pick(self, call: Any) -> Endpoint:
        """Return the current endpoint, or the next one if the last attempt at the current one failed."""
        if self._failed is not None:
            at = self._endpoints.index(self._failed) + 1 if self._failed in self._endpoints else 0
            self._endpoints = (*self._endpoints[at:], *self._endpoints[:at])
            self._failed = None
        return self._endpoints[0]

    def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
        """Record the outcome of an attempt."""
        if isinstance(error, UnavailableError):
            self._failed = endpoint


def target_of(target: str, *, is_encrypted: bool, policy: str) -> ChannelTarget:
    """Return the client's target and selector for a gRPC channel.

    Args:
        target: the target of the channel, as gRPC writes it.
        policy: the balancing policy of the channel, "pick_first" or "round_robin".

    Raises:
        ConfigError: fastrpc cannot dial a target of this form.
    """
    scheme, _, rest = target.partition(":")
    transport = "tls" if is_encrypted else "tcp"
    selector = PickFirst() if policy == "pick_first" else policy
    match scheme:
        case "unix":
            return ChannelTarget(f"unix://{Path(rest.removeprefix('//')).absolute()}", None)
        case "ipv4" | "ipv6":
            places = [_place(one, target) for one in rest.split(",")]
            addresses = [f"{transport}://{place}" for place in places]
            return (
                ChannelTarget(addresses, selector)
                if len(addresses) > 1
                else ChannelTarget(addresses[0], None)
            )
        case "memory":
            # Only fastrpc has this scheme: a server in the same process.
            return ChannelTarget(target, None)
    authority = ""
    if scheme == "dns":
        if rest.startswith("//"):
            authority, _, rest = rest[2:].partition("/")
    elif "//" in rest or scheme in _FOREIGN:
        raise ConfigError(f"{target!r} is not a target that a channel can dial", hint=_HINT)
    else:
        rest = target
    place = _place(rest, target)
    if authority or policy == "round_robin":
        # Each address of the name becomes an endpoint of the `dns://` registry, which follows changes.
        if is_encrypted:
            raise ConfigError(
                f"{target!r}: a list of addresses from DNS works only without encryption",
                hint="give each address: ipv4:10.0.0.1:443,10.0.0.2:443 with TLS(server_name=…)",
            )
        return ChannelTarget(f"dns://{authority}/{place}", selector)
    return ChannelTarget(f"{transport}://{place}", None)


_FOREIGN = frozenset({"unix-abstract", "vsock", "xds", "google-c2p", "passthrough"})


def _place(text: str, target: str) -> str:
    """Return host and port; a missing port is the default port."""
    host, _, port = text.rpartition(":")
    if not text or text.endswith("]") or not host or (":" in host and not host.endswith("]")):
        host, port = text, str(DEFAULT_PORT)
    if host and ":" in host and not host.startswith("["):
        host = f"[{host}]"
    try:
        is_valid = bool(Address.parse(f"tcp://{host}:{port}").host)
    except ConfigError:
        is_valid = False
    if not is_valid:
        raise ConfigError(f"{target!r} is not a target that a channel can dial", hint=_HINT)
    return f"{host}:{port}"
