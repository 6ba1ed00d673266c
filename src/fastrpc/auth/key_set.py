"""The public keys of an issuer of tokens, fetched by HTTPS and kept."""

import asyncio
import ipaddress
import json
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from fastrpc.bounded_http import BoundedHttpClient, HttpError
from fastrpc.config import TLS
from fastrpc.daemon_thread import in_daemon_thread
from fastrpc.errors import ConfigError
from fastrpc.escaping import without_secrets
from fastrpc.time_limit import time_limit
from fastrpc.tls.ends import HttpEnd

__all__ = ["KeySet", "KeysAwayError", "parsed_keys"]

#: MOST_BYTES: the longest answer. FETCH_SECONDS: the seconds in which all of it has to arrive.
MOST_BYTES: Final = 1024 * 1024
FETCH_SECONDS: Final = 5.0

#: RENEW_SECONDS: seconds after which keys are fetched again. KEEP_SECONDS: seconds for which they are kept while the
#: endpoint cannot be reached.
RENEW_SECONDS: Final = 300.0
KEEP_SECONDS: Final = 24 * 3600.0

#: Limits of fetches for unknown keys, because any caller can name one. UNKNOWN_SECONDS: the least seconds since the
#: last fetch. UNKNOWN_LOOKS: the most fetches a minute.
UNKNOWN_SECONDS: Final = 5.0
UNKNOWN_LOOKS: Final = 4
_MINUTE: Final = 60.0

#: Seconds between two attempts at an endpoint that cannot be reached.
RETRY_SECONDS: Final = 5.0

#: Most keys of a set.
MOST_KEYS: Final = 100

#: RSA_BITS: the smallest RSA key in bits (NIST SP 800-131A). MOST_RSA_BITS: the largest; the time of a verification
#: grows with the square of the size.
RSA_BITS: Final = 2048
MOST_RSA_BITS: Final = 8192

#: Most keys that are tried for a token without a `kid`.
MOST_TRIED: Final = 8

logger = logging.getLogger("fastrpc.audit")


class KeysAwayError(Exception):
    """The keys cannot be fetched now."""


class KeySet:
    """The keys at a URL, by their ids.

    The keys are renewed every five minutes, and kept for a day while the endpoint cannot be reached. One thread fetches
    at a time.

    Args:
        tls: the authorities to trust at that URL; None trusts the system's authorities.

    Raises:
        ConfigError: the URL is not https (http is accepted only for loopback), or a file cannot be used.
    """

    def __init__(
        self,
        url: str,
        parse: Callable[[Any], list[Any]],
        *,
        clock: Callable[[], float] = time.monotonic,
        tls: TLS | None = None,
    ) -> None:
        parts, host, port = _parts_of(url)
        #: The URL without secrets, for messages and logs.
        self.url = without_secrets(url)
        self._host = host
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._is_encrypted = parts.scheme == "https"
        if tls is not None and not self._is_encrypted:
            raise ConfigError("tls is given, but keys is not an https URL", hint="leave tls out")
        # The context with the system's authorities is made on first use: reading the authorities takes long.
        self._end = None if tls is None else HttpEnd(tls, self._host)
        self._parse = parse
        self._clock = clock
        self._keys: list[Any] = []
        self._fetched_at: float | None = None
        self._failed_at: float | None = None
        # The latest fetches for unknown keys.
        self._looks: deque[float] = deque(maxlen=UNKNOWN_LOOKS)
        # The fetch in progress, shared by all tasks of its loop that wait for keys.
        self._fetching: asyncio.Task[bool] | None = None

    def current(self) -> list[Any] | None:
        """Return the known keys; None if they have to be fetched first."""
        if self._fetched_at is None or self._clock() - self._fetched_at > KEEP_SECONDS:
            return None
        return self._keys

    def renew_if_due(self) -> None:
        """Fetch in the background if the keys are five minutes old."""
        now = self._clock()
        is_due = self._fetched_at is None or now - self._fetched_at > RENEW_SECONDS
        if is_due and (self._failed_at is None or now - self._failed_at > RETRY_SECONDS):
            self._begin()

    def begins_look(self) -> bool:
        """Return whether to fetch the set for an unknown key. If so, count the fetch towards the limit per minute."""
        if self._under_way() is not None:
            return True
        now = self._clock()
        last = max(self._fetched_at or 0.0, self._failed_at or 0.0)
        if now - last <= UNKNOWN_SECONDS:
            return False
        if len(self._looks) == UNKNOWN_LOOKS and now - self._looks[0] < _MINUTE:
            return False
        self._looks.append(now)
        return True

    @property
    def is_away(self) -> bool:
        """Whether the last fetch failed."""
        return self._failed_at is not None

    async def fetched(self) -> list[Any]:
        """Return the keys after a fetch.

        Raises:
            KeysAwayError: the endpoint cannot be reached, or its answer is not a key set.
        """
        if self._failed_at is not None and self._clock() - self._failed_at < RETRY_SECONDS:
            raise KeysAwayError
        # The shield keeps the fetch for the other tasks if one is cancelled.
        if not await asyncio.shield(self._begin()):
            raise KeysAwayError
        return self._keys

    def _begin(self) -> "asyncio.Task[bool]":
        fetching = self._under_way()
        if fetching is None:
            fetching = self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        return fetching

    def _under_way(self) -> "asyncio.Task[bool] | None":
        fetching = self._fetching
        if fetching is None or fetching.done() or fetching.get_loop() is not asyncio.get_running_loop():
            return None
        return fetching

    async def _fetch(self) -> bool:
        try:
            async with time_limit(FETCH_SECONDS):
                body = await in_daemon_thread("fastrpc-keys", lambda: _as_http_error(self._request))
            self._keys = self._parse(_json(body))
        except (HttpError, ConfigError, TimeoutError) as error:
            self._failed_at = self._clock()
            logger.warning("the keys at %s cannot be fetched: %s", self.url, error or "no answer in time")
            return False
        except Exception:
            # An unexpected error, for example if no thread can be started. It also delays the next attempt.
            self._failed_at = self._clock()
            logger.exception("the keys at %s cannot be fetched", self.url)
            return False
        self._fetched_at, self._failed_at = self._clock(), None
        return True

    def _request(self) -> str:
        encrypt = self._encrypt if self._is_encrypted else None
        client = BoundedHttpClient(self._host, self._port, encrypt=encrypt, most_bytes=MOST_BYTES)
        try:
            answer = client.request("GET", self._target, headers={"Accept": "application/json"})
        finally:
            client.close()
        if answer.status != 200:
            raise HttpError(f"it answered {answer.status}")
        return answer.json_text()

    def _encrypt(self, plain: socket.socket) -> ssl.SSLSocket:
        if self._end is None:
            self._end = HttpEnd(TLS(), self._host)
        return self._end.wrap(plain)


def _parts_of(url: str) -> tuple[SplitResult, str, int | None]:
    """Return the parts of a URL that keys may be fetched from, its host and its port."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.username is None
        port = parts.port
    except ValueError:
        is_usable = False
    if not is_usable or not parts.hostname:
        raise ConfigError(
            "keys is not a URL of a key set", hint="write https://host/path, without a password"
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ConfigError(
            f"keys is {without_secrets(url)!r}: an attacker on the network could replace the keys",
            hint="write https://…",
        )
    return parts, parts.hostname, port


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError("the answer is not JSON") from None


def parsed_keys(content: Any, make: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    """Return the keys of a key set (RFC 7517) that can verify signatures; other keys are left out.

    Args:
        make: makes a key, or returns None for a key that cannot be used here.

    Raises:
        ConfigError: the content is not a key set, or has no such key.
    """
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError("it is not a set of keys (RFC 7517)")
    if len(entries) > MOST_KEYS:
        raise ConfigError(f"it has {len(entries):,} keys, the limit is {MOST_KEYS}")
    # A symmetric key in a public set is no secret.
    usable = [entry for entry in entries if entry.get("kty") != "oct" and entry.get("use", "sig") == "sig"]
    keys = [key for key in map(make, usable) if key is not None]
    if not keys:
        raise ConfigError("it has no key that verifies signatures of the accepted algorithms")
    return keys


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _as_http_error(ask: Callable[[], str]) -> str:
    """Return the result of `ask`; raise each of its errors as HttpError."""
    try:
        return ask()
    except HttpError:
        raise
    except Exception as error:
        raise HttpError(str(error)) from error
