"""The errors of endpoints that cannot be reached, and how messages describe them."""

import errno
import re
from collections.abc import Sequence
from typing import Any, Protocol

from fastrpc.endpoint import Endpoint
from fastrpc.errors import (
    CallError,
    ConfigError,
    ConnectError,
    DeadlineExceededError,
    FastRPCError,
    NoEndpointError,
)

__all__ = [
    "ABSENT_HINT",
    "MOST_NAMED",
    "REACH_HINT",
    "SETTING_HINT",
    "Tried",
    "not_known_in_time",
    "not_ready_in_time",
    "registry_failure",
    "trouble_at",
    "troubles",
    "unreachable",
]

#: The most addresses that one message names.
MOST_NAMED = 100

#: The error of a connection that the server closed before it sent anything.
_MUTE = "the connection ended during its handshake: the server closed it"

#: The hint for a call whose servers refuse connections.
ABSENT_HINT = "is a server running there? with_options(wait_for_ready=True) waits for one"

#: The hint for a call that got no connection in time.
REACH_HINT = "check that the address is right and a server runs there, or give it more time"

#: The hint for a call for which a setting of its client excludes every endpoint.
SETTING_HINT = "correct this setting of the client"


class Tried(Protocol):
    """The part of an endpoint's plan that errors describe."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint."""

    @property
    def error(self) -> FastRPCError | None:
        """The reason why there is no connection; None once the server has answered."""


def unreachable(endpoints: Sequence[Tried]) -> FastRPCError:
    """Return the error of a call that has no connection to any of these endpoints."""
    refusals = [each.error for each in endpoints if isinstance(each.error, CallError)]
    if refusals and len(refusals) == len(endpoints):
        # Each call gets a separate error object.
        return CallError(refusals[0].status, refusals[0].message, processed="no")
    error = ConnectError(f"no endpoint could be reached: {troubles(endpoints)}", hint=_reach_hint(endpoints))
    error.is_lasting = all(each.error is not None and each.error.is_lasting for each in endpoints)
    return error


def not_ready_in_time(seconds: float | None, pool: Any) -> DeadlineExceededError:
    """Return the error of a client that got no ready endpoint in time; the cause is the last error of an endpoint."""
    error = DeadlineExceededError(
        f"not ready within {seconds:g} s: {pool.tried()}", processed="no", hint=REACH_HINT
    )
    error.__cause__ = next(
        (each.error for each in reversed(pool.subchannels) if each.error is not None), None
    )
    return error


def not_known_in_time(method: str, pool: Any) -> DeadlineExceededError:
    """Return the error of a call whose registry sent no list in time."""
    return DeadlineExceededError(f"{method}: {pool.tried()}", processed="no", hint=REACH_HINT)


def registry_failure(method: str, target: object, error: object) -> NoEndpointError:
    """Return the error of a call whose registry failed before it sent a list, with the registry's hint."""
    cause, hint = (error.message, error.hint) if isinstance(error, FastRPCError) else (error, None)
    general = "check the address of the registry, and that it runs"
    return NoEndpointError(
        f"{method}: the endpoints of {target} are unknown: {cause}",
        hint=general if hint in (None, ABSENT_HINT) else hint,
    )


def troubles(endpoints: Sequence[Tried]) -> str:
    """Return addresses with their errors, at most the first `MOST_NAMED`."""
    text = "; ".join(trouble_at(each.endpoint, each.error) for each in endpoints[:MOST_NAMED])
    return text if len(endpoints) <= MOST_NAMED else f"{text}; and {len(endpoints) - MOST_NAMED} more"


def trouble_at(endpoint: Endpoint, error: FastRPCError | None) -> str:
    """Return an endpoint with its error; most errors name the endpoint already."""
    text = "no answer yet" if error is None else error.message
    return text if str(endpoint) in text else f"{endpoint}: {text}"


def _has_cause(error: FastRPCError) -> bool:
    """Return whether an error has another cause than a missing server: the settings, or a refusal."""
    if isinstance(error, ConfigError):
        return True
    return error.hint is not None and getattr(error, "errno", None) not in {errno.ECONNREFUSED, errno.ENOENT}


def _reach_hint(endpoints: Sequence[Tried]) -> str:
    """Return the hint for a call without a connection: the hints of the errors, else the advice to start the server."""
    failures = [each.error for each in endpoints if each.error is not None]
    if failures and all(map(_has_cause, failures)):
        return failures[0].hint or SETTING_HINT
    errors = [str(each.error) for each in endpoints if each.error is not None]
    if errors and all(_MUTE in error for error in errors):
        if str(endpoints[0].endpoint).startswith("grpc"):
            return 'is a server running there, and do its protocols name "grpc"?'
        return (
            'is a server running there, and do its protocols name "native"? One for rpcx alone is called with '
            'ClientConfig(wire_protocol="rpcx")'
        )
    strangers = [error for error in errors if "not a fastrpc server" in error]
    if not strangers or len(strangers) < len(errors):
        return ABSENT_HINT
    found = re.search(r"not a fastrpc server but ([^:]+):", strangers[0])
    has_ports = all(each.endpoint.address.scheme == "tcp" for each in endpoints)
    if found and found[1] == "a TLS server" and has_ports:
        return "a TLS server answered there: dial tls:// instead of tcp://"
    place = "host and port" if has_ports else "the address"
    hint = f"{found[1] if found else 'something else'} answered there: check {place}"
    if "HTTP" in hint:
        hint += '; a server of fastrpc takes this client once its protocols name "native"'
    return hint
