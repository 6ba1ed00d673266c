"""Scopes: the distance of a server, and the labels that it states."""

import hashlib
import hmac
import os
import platform
import re
from collections.abc import Sequence
from typing import Final

from fastrpc.endpoint import Endpoint, copied
from fastrpc.errors import ConfigError
from fastrpc.registries.host.folder import folder_path, host_socket

__all__ = [
    "CERTIFICATE",
    "PROVIDER",
    "SCOPE",
    "SCOPES",
    "SERVER",
    "ScopedView",
    "listed_scopes",
    "provider_name",
    "provider_pattern",
    "registry_scope",
]

#: The scopes, nearest first.
SCOPES: Final = ("process", "host", "lan", "wan")

#: The names of labels of endpoints. The client sets SCOPE; the server sets PROVIDER and SERVER.
SCOPE: Final = "scope"
PROVIDER: Final = "provider"
SERVER: Final = "server"

#: The label of a server on the network that has other certificates in place of the pass: "own".
CERTIFICATE: Final = "certificate"

#: The files with the number of a machine (machine-id(5), D-Bus).
_MACHINE_FILES: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")

_DIGITS: Final = 12


def listed_scopes(text: str) -> tuple[str, ...]:
    """Return the scopes of an option such as `process,host`, nearest first.

    Raises:
        ValueError: one is unknown, or the list is empty.
    """
    given = {part.strip() for part in text.split(",") if part.strip()}
    if not given or given - set(SCOPES):
        raise ValueError(f"it must be one or more of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in given)


def provider_name() -> str:
    """Return the name of this machine: `FASTRPC_PROVIDER`, else digits made of its number.

    Raises:
        ConfigError: the variable cannot be shown in one line.
    """
    given = os.environ.get("FASTRPC_PROVIDER")
    if given:
        if not given.isprintable() or len(given) > 128:
            raise ConfigError(
                f"FASTRPC_PROVIDER is {given!r}", hint="give at most 128 characters of one line"
            )
        return given
    # The machine id is confidential: it may be shown only hashed (machine-id(5)).
    return hmac.new(_machine_number(), b"fastrpc", hashlib.sha256).hexdigest()[:_DIGITS]


def provider_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern of providers, in which `*` stands for any text; its `fullmatch` gets a name.

    Raises:
        TypeError: the pattern is not text.
    """
    if not isinstance(text, str):
        raise TypeError(f"a pattern of providers is {text!r}, it must be text")
    return re.compile(".*".join(map(re.escape, re.split(r"\*+", text))), re.DOTALL)


def _machine_number() -> bytes:
    for path in _MACHINE_FILES:
        try:
            with open(path, "rb") as file:
                number = file.read(1_024).strip()
        except OSError:
            continue
        if number:
            return number
    return platform.node().encode()


def registry_scope(endpoint: Endpoint) -> str:
    """Return the scope in which a server registers an endpoint; "" for a unix socket outside the host folder."""
    address = endpoint.address
    if endpoint.labels.get(SCOPE) == "lan":
        return "lan"
    if address.scheme == "unix":
        return "host" if host_socket(address, folder_path()) is not None else ""
    return "process" if address.scheme == "memory" else "wan"


class ScopedView:
    """Labels the endpoints of each scope, and keeps the endpoints of some providers.

    The place where an endpoint is listed sets the label, not its record: a record could claim a nearer scope to get
    more calls.

    Args:
        scopes: the scope of each member.
        provider: a pattern, in which `*` matches any text.
    """

    def __init__(self, scopes: Sequence[str], provider: str) -> None:
        self._scopes = scopes
        self._matches = provider_pattern(provider).fullmatch
        # The labelled endpoints by member and address: a record that did not change keeps its object.
        self._known: dict[int, dict[str, tuple[Endpoint, Endpoint]]] = {}

    def __call__(self, index: int, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        before, now = self._known.get(index, {}), {}
        for endpoint in endpoints:
            if not self._matches(endpoint.labels.get(PROVIDER, "")):
                continue
            address = str(endpoint.address)
            known = before.get(address)
            if known is None or known[0] is not endpoint:
                labels = {**endpoint.labels, SCOPE: self._scopes[index]}
                known = endpoint, copied(endpoint, labels=labels)
            now[address] = known
        self._known[index] = now
        return [labelled for _, labelled in now.values()]
