"""A blocking client of a Consul agent: py-consul's interface over `BoundedHttpClient`."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from fastrpc.bounded_http import BoundedHttpClient, HttpError
from fastrpc.errors import ConfigError, StoreError
from fastrpc.networks import place_name
from fastrpc.registries.base.secrets import check_carried, header_token, take_secret
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status
from fastrpc.tls.ends import HttpEnd

__all__ = ["Agent", "AgentAccess", "Index", "typed"]

#: The first characters of error texts after which a later retry may succeed: 409 if the session of a transaction's lock
#: has just ended, 429 if the client exceeds its rate limit.
_TRY_LATER = ("409", "429")

#: Consul delays the end of a blocking query by up to this fraction of its wait, to spread the answers.
_JITTER = 1 / 16

#: The greatest value of Consul's index.
_GREATEST_INDEX = 2**64 - 1

#: The reason for py-consul rather than other packages, in the hint of an error.
_PY_CONSUL = (
    "py-consul continues python-consul, which has had no release since 2018, under the same module name"
)

_Callback = Callable[[Any], Any]
_Data = str | bytes
_Headers = Mapping[str, str] | None
_Params = Sequence[tuple[str, Any]] | None


class AgentAccess:
    """The agent's address and credentials, from which `connect` creates clients."""

    def __init__(self, url: RegistryURL) -> None:
        consul = url.package("consul", "py-consul", part="consul.exceptions", reason=_PY_CONSUL)
        places = url.places(8500)
        if len(places) > 1:
            raise ConfigError(f"{url} names {len(places)} agents", hint="name the agent of this machine")
        (self.host, self.port) = places[0]
        token = take_secret(url, "token", header_token, default=os.environ.get("CONSUL_HTTP_TOKEN") or None)
        self._token = token or str
        self.dc = url.take("dc", None, str)
        tls = url.take_tls()
        check_carried(url, places, kind="token" if token else "", is_encrypted=tls is not None)
        self._encrypt = None if tls is None else HttpEnd(tls, self.host).wrap
        self._consul = consul
        #: The errors of py-consul and of the client below it.
        self.errors: tuple[type[Exception], ...] = (consul.ConsulException, HttpError)
        self.not_found: type[Exception] = consul.NotFound

    def connect(self) -> "Agent":
        """Return a client for one thread. It connects on first use."""
        client = self._consul.Consul(host=self.host, port=self.port, dc=self.dc)
        # py-consul prefers CONSUL_HTTP_TOKEN to its argument, and some of its methods accept no token. So `_Transport`
        # adds our token to each request.
        client.token = ""
        http = BoundedHttpClient(self.host, self.port, encrypt=self._encrypt)
        # Replaces py-consul's HTTP client, which sends the token to redirect targets and limits neither time nor size.
        client.http = _Transport(http, self._token, self.dc)
        return Agent(client, http, self)

    def translated(self, error: Exception) -> StoreError:
        """Return the StoreError for an error of py-consul. Its status is UNAVAILABLE only if a retry may succeed."""
        kinds = self._consul
        status = Status.UNAVAILABLE
        if isinstance(error, kinds.ACLPermissionDenied | kinds.ACLDisabled):
            status = Status.PERMISSION_DENIED
        elif isinstance(error, kinds.exceptions.BadRequest | kinds.exceptions.ClientError):
            status = Status.INVALID_ARGUMENT
        # The text comes from a server, so it is escaped for printing.
        text = str(error if isinstance(error, HttpError) else HttpError(str(error))) or type(error).__name__
        if text.startswith(_TRY_LATER):
            status = Status.UNAVAILABLE
        return StoreError(f"Consul at {place_name(self.host, self.port)}: {text}", status=status)


class Agent:
    """A client of the agent, for one thread; another thread may call `close`, which interrupts a request."""

    def __init__(self, client: Any, http: BoundedHttpClient, access: AgentAccess) -> None:
        self.client = client
        #: The error of py-consul for a status 404 that does not mean an empty answer.
        self.not_found: type[Exception] = access.not_found
        #: The query parameter `dc`; empty for the agent's own datacenter.
        self.datacenter = [] if access.dc is None else [("dc", access.dc)]
        self._http = http
        self._access = access

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise errors of py-consul and HTTP inside the block as StoreError."""
        try:
            yield
        except self._access.errors as error:
            raise self._access.translated(error) from error

    def close(self) -> None:
        """Close the connection, even while another thread waits for a response on it."""
        self._http.close()


class _Transport:
    """The HTTP client for py-consul, with the methods of py-consul's own client.

    Args:
        token: returns the token for a request.
        dc: the datacenter to add to transactions, because py-consul omits it there; None means the agent's own.
    """

    def __init__(self, http: BoundedHttpClient, token: Callable[[], str], dc: str | None) -> None:
        self._http = http
        self._token = token
        self._dc = dc

    def get(self, callback: _Callback, path: str, params: _Params = None, headers: _Headers = None) -> Any:
        return self._ask("GET", callback, path, params, headers, b"")

    def put(
        self,
        callback: _Callback,
        path: str,
        params: _Params = None,
        data: _Data = "",
        headers: _Headers = None,
    ) -> Any:
        return self._ask("PUT", callback, path, params, headers, data)

    def _ask(
        self, method: str, callback: _Callback, path: str, params: _Params, headers: _Headers, data: _Data
    ) -> Any:
        if path == "/v1/txn" and self._dc is not None:
            params = [*(params or ()), ("dc", self._dc)]
        token = self._token()
        shown = {"X-Consul-Token": token} if token else {}
        query = urlencode(params or ())
        wait = float(dict(params or ()).get("wait", "0s").removesuffix("s"))
        answer = self._http.request(
            method,
            f"{quote(path, safe='/:')}{'?' if query else ''}{query}",
            headers=shown | dict(headers or {}),
            body=data.encode() if isinstance(data, str) else data,
            held_seconds=wait * (1 + _JITTER),
        )
        text = answer.json_text()
        if answer.status == 200 and text.strip() == "null":
            # Consul never sends null, and py-consul would read it as a missing key.
            raise HttpError("the answer is null")
        from consul.base import Response

        try:
            return callback(Response(answer.status, answer.headers, text))
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
            raise HttpError(f"the answer cannot be read: {type(error).__name__}: {error}") from error


class Index:
    """The index of a blocking query, by Consul's rules for clients."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._index: int | None = None
        self.latest = 0
        self._uniform = uniform

    def options(self, wait_seconds: float) -> dict[str, Any]:
        """Return the options of the next query."""
        if self._index is None or wait_seconds <= 0:
            return {}
        # Clients that saw the same change would all query again at the same time. Random waits spread the queries.
        return {"index": self._index, "wait": f"{max(0.1, wait_seconds * self._uniform(0.9, 1.0)):.3f}s"}

    def note(self, text: Any) -> bool:
        """Store the index of an answer; return whether it decreased, which means that the servers lost their state.

        A query with an index below 1 would not block, so a lower index counts as 1. Consul answers a query with index 1
        as soon as its own index is greater.

        Raises:
            HttpError: the text is not an index.
        """
        digits = text.removeprefix("-") if isinstance(text, str) else ""
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20):
            self.forget()
            raise HttpError(f"X-Consul-Index is {str(text)[:40]!r}, which is not an index")
        new = min(max(int(text), 1), _GREATEST_INDEX)
        went_back = new < self.latest
        self._index = None if went_back else new
        self.latest = new
        return went_back

    def forget(self) -> None:
        """Forget the index, so that the next query returns without waiting."""
        self._index = None


def typed(found: Any, expected: Any) -> Any:
    """Return the answer of an agent after checking its type. Call this inside `Agent.errors`.

    Raises:
        HttpError: the answer has another type.
    """
    try:
        return msgspec.convert(found, expected)
    except msgspec.ValidationError as error:
        raise HttpError(f"the answer does not fit: {error}") from None
