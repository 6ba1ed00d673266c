"""Access to the admin pages."""

import base64
import binascii
import hmac
import ipaddress
import logging
import os
import re

from fastrpc._core.exchange.request_head import RequestHead
from fastrpc.errors import ConfigError
from fastrpc.watched_file import WatchedFile

__all__ = ["AdminAccess", "Token"]

#: A Host header: a name, or an IPv6 address in brackets; a port may follow.
HOST = re.compile(r"(?:\[(?P<inner>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]+))(?::[0-9]{1,5})?")

#: The prefix of a setting that names a file with a token.
FILE = "file:"

# White space in a header field (RFC 9110, section 5.6.3). Other spaces, such as U+00A0, belong to the token.
_SPACES = " \t"

logger = logging.getLogger("fastrpc.audit")


class Token:
    """A token, or the token in a file. The file is read again after a change.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, given: str | os.PathLike[str]) -> None:
        self._given = b""
        self._file: WatchedFile[bytes] | None = None
        if not isinstance(given, str):
            self._file = WatchedFile(given, "the admin token", _token_in, logger=logger)
        elif given.startswith(FILE):
            self._file = WatchedFile(given.removeprefix(FILE), "the admin token", _token_in, logger=logger)
        else:
            self._given = given.encode()

    def is_given_by(self, head: RequestHead) -> bool:
        """Return whether a request has the token, as a bearer token or as the password of HTTP Basic."""
        given = head.values("authorization")
        if len(given) != 1:
            return False
        scheme, _, credentials = given[0].partition(" ")
        if scheme.lower() == "basic":
            try:
                credentials = base64.b64decode(credentials.strip(_SPACES), validate=True).decode("latin-1")
            except (binascii.Error, ValueError):
                return False
            credentials = credentials.partition(":")[2]
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(credentials.strip(_SPACES).encode("latin-1"), self._current())

    def reload(self) -> None:
        """Read the file of the token again now."""
        if self._file is not None:
            self._file.reload()

    def _current(self) -> bytes:
        if self._file is None:
            return self._given
        self._file.look()
        return self._file.value


def _token_in(text: str) -> bytes:
    """Return the token of a file."""
    token = text.strip(_SPACES + "\r\n")
    if not token:
        raise ConfigError("it is empty")
    return token.encode()


class AdminAccess:
    """Decides whether a request may read a page. Probes need no permission.

    A token is required unless the pages are on loopback. On loopback, a web page of any site could make a browser send
    requests, with a host name that resolves to this machine. So the Host header has to name this machine. If a token is
    set, it is required on loopback too.
    """

    def __init__(self, token: Token | None, *, is_local: bool, has_host: bool) -> None:
        self._token = token
        self._is_local = is_local
        self._checks_host = is_local and has_host

    def refusal(self, head: RequestHead) -> tuple[int, str] | None:
        """Return status and text with which to refuse a request, or None."""
        refused = self.refused_host(head)
        if refused is not None:
            return refused
        if self._token is None:
            if self._is_local:
                return None
            return 403, "beyond loopback the pages need a token: set ServerConfig.admin_token"
        return None if self._token.is_given_by(head) else (401, "the token is missing or wrong")

    def refused_host(self, head: RequestHead) -> tuple[int, str] | None:
        """Return status and text with which to refuse a request because of its Host header, or None."""
        if self._checks_host and not _is_loopback(head.host):
            return 421, "the Host of the request is not this machine: use localhost"
        return None

    def is_reader(self, head: RequestHead) -> bool:
        """Return whether a request has the token for readers; False if no token is set."""
        return self._token is not None and self._token.is_given_by(head)


def _is_loopback(host: str) -> bool:
    """Return whether a Host header, with or without a port, names this machine's loopback."""
    parts = HOST.fullmatch(host)
    if parts is None:
        return False
    name, inner = parts["name"], parts["inner"]
    if name is not None and name.lower() == "localhost":
        return True
    try:
        address = ipaddress.IPv4Address(name) if inner is None else ipaddress.IPv6Address(inner)
    except ValueError:
        return False
    return address.is_loopback
