"""The layout that Go's rpcx keeps in Consul's key-value store, read and written, so that both share a cluster.

::

    <base>/<service>                          the service's name, stays for ever
    <base>/<service>/<network>@<host>:<port>  URL query: weight=2&group=blue&state=inactive; locked by a session

The session has a TTL and the behaviour `delete`: the key goes with its owner.
"""

import contextlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.backend import Entry, Lease, Listing
from fastrpc.registries.base.record import GREATEST_WEIGHT, RecordError, read_texts, to_texts
from fastrpc.registries.consul.agent import Access, Agent, Index

__all__ = ["KeyLease", "KeyLookup", "RpcxKeys", "read_key"]

#: What the store library of rpcx puts on every key.
_FLAGS = 0x2DDCCBC058A50C18

#: The shortest session Consul takes. It may outlive its TTL by as much again.
_SESSION_SECONDS = 10

#: Seconds for which nobody may lock a key whose session ended; Consul's own default of 15 would keep a server that
#: restarts out of the list.
_LOCK_DELAY_SECONDS = 0.001

#: Longest value of a key that is read.
_VALUE_BYTES = 65_536


class RpcxKeys:
    """A backend: keys below a base path; a leading slash is dropped, as rpcx does."""

    def __init__(self, access: Access, *, base: str) -> None:
        self._access = access
        self._base = base.strip("/")
        if not self._base:
            raise ConfigError("the option base is empty", hint="rpcx calls it BasePath; write base=rpcx")
        # The thread of the leases has one client for all.
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
        return KeyLease(self._agent, service, key, urlencode(sorted(to_texts(endpoint).items())))

    def list_services(self) -> Iterable[str]:
        prefix = f"{self._base}/"
        with contextlib.closing(self._access.connect()) as agent, agent.errors():
            _, keys = agent.client.kv.get(prefix, keys=True, separator="/")
        # A service is there with its name and as a folder of its endpoints; without those nobody serves it.
        return [key[len(prefix) : -1] for key in keys or () if key.endswith("/") and key != prefix]

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


class KeyLookup:
    """Asks for all keys of a service, and waits for changes."""

    def __init__(self, prefix: str, agent: Agent) -> None:
        self._prefix = prefix
        self._agent = agent
        self._index = Index()

    def fetch(self, wait_seconds: float) -> Listing:
        try:
            with self._agent.errors():
                index, pairs = self._agent.client.kv.get(
                    self._prefix, recurse=True, **self._index.options(wait_seconds)
                )
        except StoreError:
            self._index.forget()
            raise
        went_back = self._index.note(index)
        entries = [entry for pair in pairs or () if (entry := read_key(self._prefix, pair)) is not None]
        return Listing(entries, is_restart=went_back)

    def close(self) -> None:
        self._agent.close()


class KeyLease:
    """One key, locked by a session of its own."""

    renew_seconds = 2.0

    def __init__(self, agent: Agent, service: str, key: str, value: str) -> None:
        self._agent = agent
        self._service = service
        self._key = key
        self._value = value.encode()
        self._session: str | None = None

    def acquire(self) -> None:
        client = self._agent.client
        # After an answer that was lost the session may be well; ending it would take the key away for a moment.
        if self._session is not None and self.renew():
            return
        with self._agent.errors():
            self._destroy_session()
            folder = self._key.rpartition("/")[0]
            client.kv.put(folder, self._service, flags=_FLAGS)
            self._session = client.session.create(
                behavior="delete", ttl=_SESSION_SECONDS, lock_delay=_LOCK_DELAY_SECONDS
            )
            if not self._write():
                # A session of our last run still holds it; its end would take our key along.
                client.kv.delete(self._key)
                if not self._write():
                    raise StoreError(f"Consul: {self._key} is locked by another session")

    def _write(self) -> bool:
        put = self._agent.client.kv.put
        return bool(put(self._key, self._value, flags=_FLAGS, acquire=self._session))

    def renew(self) -> bool:
        client = self._agent.client
        try:
            with self._agent.errors():
                client.session.renew(self._session)
        except StoreError as error:
            if type(error.__cause__).__name__ != "NotFound":
                raise
            self._session = None
            return False
        with self._agent.errors():
            _, pair = client.kv.get(self._key)
            if pair is not None and pair.get("Session") == self._session:
                # What somebody wrote into it stays, above all state=inactive; and a write would wake all who watch.
                return True
            return self._write()

    def release(self) -> None:
        with self._agent.errors():
            self._destroy_session()
            self._agent.client.kv.delete(self._key)

    def _destroy_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._agent.client.session.destroy(session)


def _weight(text: str) -> str:
    """Return a weight as far as it can be kept: Go takes any number, and 1 for what is none."""
    try:
        return str(min(max(int(text), 0), GREATEST_WEIGHT))
    except ValueError:
        return "1"


def read_key(prefix: str, pair: Any) -> Entry | None:
    """Read one pair below the keys of a service; None for a server that is inactive."""
    key = str(pair.get("Key", "")).removeprefix(prefix)
    network, separator, place = key.partition("@")
    if not separator:
        return key, RecordError("it is not network@address")
    try:
        value = (pair.get("Value") or b"").decode()
        if len(value) > _VALUE_BYTES:
            raise RecordError(f"it has {len(value)} characters, the limit is {_VALUE_BYTES}")
        texts = dict(parse_qsl(value, keep_blank_values=True))
        if texts.pop("state", None) == "inactive":
            return None
        texts.setdefault("protocols", "rpcx")
        if "weight" in texts:
            texts["weight"] = _weight(texts["weight"])
        return key, read_texts(f"{network}://{place}", texts)
    except (UnicodeDecodeError, ValueError) as error:
        return key, error if isinstance(error, RecordError) else RecordError(str(error))
