"""The layout of Go's rpcx in Consul's key-value store, so that both share a cluster.

::

    <base>/<service>                          the service's name, permanent
    <base>/<service>/<network>@<host>:<port>  URL query: weight=2&group=blue&state=inactive; locked by a session

The session has a TTL and the behaviour `delete`: the key is deleted with its session.
"""

import base64
import contextlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.backend import Entry, Lease, Listing
from fastrpc.registries.base.record import GREATEST_WEIGHT, RecordError, read_texts, to_texts
from fastrpc.registries.consul.agent import KEY_CHARACTERS, Agent, AgentAccess, Index, typed

__all__ = ["KeyLease", "KeyLookup", "RpcxKeys", "read_key"]

#: The flags that rpcx's store library sets on every key.
_FLAGS = 0x2DDCCBC058A50C18

#: Consul's shortest session TTL in seconds. A session may live up to twice its TTL.
_SESSION_SECONDS = 10

#: Seconds for which a key stays locked after its session ended; Consul's default of 15 would keep a restarted
#: server out of the list.
_LOCK_DELAY_SECONDS = 0.001

#: The value of `state` that takes a server out.
_INACTIVE = {"state": "inactive"}

#: Longest value of a key, in bytes.
_VALUE_BYTES = 65_536


#: The form of a session id, since it is used in paths.
_SessionId = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z-]{1,64}$")]


class _Pair(msgspec.Struct):
    """A key and its value, which py-consul has decoded from base64."""

    key: str = msgspec.field(name="Key")
    value: bytes | None = msgspec.field(name="Value", default=None)


class RpcxKeys:
    """A backend over keys below a base path; a leading slash is dropped, as in rpcx."""

    def __init__(self, access: AgentAccess, *, base: str) -> None:
        self._access = access
        self._base = base.strip("/")
        if not self._base:
            raise ConfigError("the option base is empty", hint="rpcx calls it BasePath; write base=rpcx")
        # All leases share one client, as one thread uses them.
        self._agent: Agent | None = None

    def open_lookup(self, service: str) -> "KeyLookup":
        return KeyLookup(f"{self._base}/{service}/", self._access.connect())

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        address = endpoint.address
        if not address.host or not address.port:
            raise ConfigError(f"{address} cannot be registered for rpcx", hint="register host and port")
        if self._agent is None:
            self._agent = self._access.connect()
        host = f"[{address.host}]" if ":" in address.host else address.host
        key = f"{self._base}/{service}/{address.scheme}@{host}:{address.port}"
        return KeyLease(self._agent, service, key, to_texts(endpoint))

    def list_services(self) -> Iterable[str]:
        prefix = f"{self._base}/"
        with contextlib.closing(self._access.connect()) as agent, agent.errors():
            _, found = agent.client.kv.get(prefix, keys=True, separator="/")
            # None is status 404.
            keys = typed(found, list[str] | None) or []
        # A service has a key with its name and a folder of its endpoints; without the folder it has no endpoints.
        return [key[len(prefix) : -1] for key in keys if key.endswith("/") and key != prefix]

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


class KeyLookup:
    """Fetches all keys of a service, and waits for changes."""

    def __init__(self, prefix: str, agent: Agent) -> None:
        self._prefix = prefix
        self._agent = agent
        self._index = Index()

    def fetch(self, wait_seconds: float) -> Listing:
        try:
            with self._agent.errors():
                index, found = self._agent.client.kv.get(
                    self._prefix, recurse=True, **self._index.options(wait_seconds)
                )
                # None is status 404.
                pairs = typed(found, list[Any] | None) or []
                went_back = self._index.note(index)
        except StoreError:
            self._index.forget()
            raise
        entries = [entry for pair in pairs if (entry := read_key(self._prefix, pair)) is not None]
        return Listing(entries, is_restart=went_back)

    def close(self) -> None:
        self._agent.close()


class KeyLease:
    """One key, locked by its own session.

    Of two leases of one address, the later one takes the key over, and the key ends with that session; the other lease
    then writes it again.
    """

    renew_seconds = 2.0

    def __init__(self, agent: Agent, service: str, key: str, texts: Mapping[str, str]) -> None:
        self._agent = agent
        self._service = service
        self._key = key
        self._texts = texts
        self._value = _query(texts)
        self._session: str | None = None
        #: Whether this lease ever held the key: a session that locks it after that is a later one.
        self._was_written = False

    def acquire(self) -> None:
        client = self._agent.client
        with self._agent.errors():
            # After a lost answer the session may be valid; destroying it would remove the key for a moment.
            if not self._renew_session():
                folder = self._key.rpartition("/")[0]
                client.kv.put(folder, self._service, flags=_FLAGS)
                created = client.session.create(
                    behavior="delete", ttl=_SESSION_SECONDS, lock_delay=_LOCK_DELAY_SECONDS
                )
                self._session = typed(created, _SessionId)
            if not self._write() and not self._was_written:
                self._take_over()
            self._was_written = True

    def _write(self) -> bool:
        """Return whether the key is ours; False if another session locks it."""
        put = self._agent.client.kv.put
        return bool(typed(put(self._key, self._value, flags=_FLAGS, acquire=self._session), bool))

    def _take_over(self) -> None:
        """Write a key that a session of an earlier run still locks; the end of that session would delete it."""
        # In one transaction, so that no reader sees it missing.
        value = base64.b64encode(self._value).decode()
        lock = {"Verb": "lock", "Key": self._key, "Value": value, "Flags": _FLAGS, "Session": self._session}
        self._agent.client.txn.put([{"KV": {"Verb": "delete", "Key": self._key}}, {"KV": lock}])

    def renew(self) -> bool:
        with self._agent.errors():
            if not self._renew_session():
                return False
            _, found = self._agent.client.kv.get(self._key)
            return typed(found, dict[str, Any] | None) is not None or self._write()

    def retire(self) -> bool:
        self._value = _query({**self._texts, **_INACTIVE})
        with self._agent.errors():
            # A key that another server has taken over stays as that one wrote it.
            return self._session is not None and self._write()

    def _renew_session(self) -> bool:
        if self._session is None:
            return False
        try:
            self._agent.client.session.renew(self._session)
        except self._agent.not_found:
            self._session = None
            return False
        return True

    def release(self) -> None:
        if self._session is not None:
            with self._agent.errors():
                # This deletes the key too, if it is ours.
                self._agent.client.session.destroy(self._session)
                self._session = None


def _query(texts: Mapping[str, str]) -> bytes:
    """Return texts as the value of a key."""
    return urlencode(sorted(texts.items())).encode()


def _weight(text: str) -> str:
    """Return a weight in our range: Go accepts any number, and reads invalid text as 1."""
    try:
        return str(min(max(int(text), 0), GREATEST_WEIGHT))
    except ValueError:
        return "1"


def read_key(prefix: str, pair: Any) -> Entry | None:
    """Parse one pair below the key of a service; None for an inactive server."""
    try:
        read = msgspec.convert(pair, _Pair)
    except msgspec.ValidationError as error:
        return "a key", RecordError(f"it does not look like a pair: {error}")
    key = read.key.removeprefix(prefix)
    network, separator, place = key.partition("@")
    if not separator:
        return key[:KEY_CHARACTERS], RecordError("it is not network@address")
    try:
        value = (read.value or b"").decode()
        if len(value) > _VALUE_BYTES:
            raise RecordError(f"it has {len(value)} characters, the limit is {_VALUE_BYTES}")
        texts = dict(parse_qsl(value, keep_blank_values=True))
        if texts.pop("state", None) == _INACTIVE["state"]:
            return None
        texts.setdefault("protocols", "rpcx")
        if "weight" in texts:
            texts["weight"] = _weight(texts["weight"])
        return key, read_texts(f"{network}://{place}", texts)
    except (UnicodeDecodeError, ValueError) as error:
        return key, error if isinstance(error, RecordError) else RecordError(str(error))
