"""The layout of Go's rpcx in Consul's key-value store, so that servers and clients of fastrpc and rpcx find each other.

`registries/base/rpcx_record.py` describes keys and values. A session locks the key of an endpoint. The session has a
TTL and the behaviour `delete`: the key is deleted when the session ends.
"""

import base64
import contextlib
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Entry, Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.base.rpcx_record import RpcxRecord, base_path, read_rpcx_record
from fastrpc.registries.consul.agent import Agent, AgentAccess, Index, typed

__all__ = ["KeyLease", "KeyLookup", "RpcxKeys", "read_key"]

#: The flags that rpcx's store library sets on every key.
_FLAGS = 0x2DDCCBC058A50C18

#: Consul's shortest session TTL in seconds. Consul may end a session up to twice its TTL after the last renewal.
_SESSION_SECONDS = 10

#: Seconds for which a key cannot be locked after its session has ended. With Consul's default of 15 a restarted server
#: could not register for 15 seconds.
_LOCK_DELAY_SECONDS = 0.001

#: The form of a session id, as it is used in paths.
_SessionId = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z-]{1,64}$")]


class _Pair(msgspec.Struct):
    """A key and its value. py-consul has decoded the value from base64."""

    key: str = msgspec.field(name="Key")
    value: bytes | None = msgspec.field(name="Value", default=None)


class RpcxKeys:
    """A backend over keys below a base path. A leading slash of the path is dropped, as rpcx does."""

    def __init__(self, access: AgentAccess, *, base: str) -> None:
        self._access = access
        self._base = base_path(base)
        # All leases share this client, because one thread uses all leases.
        self._agent: Agent | None = None

    def open_lookup(self, service: str) -> "KeyLookup":
        return KeyLookup(f"{self._base}/{service}/", self._access.connect())

    def open_beside(self, service: str, lookup: "KeyLookup") -> "KeyLookup":
        return KeyLookup(f"{self._base}/{service}/", lookup.agent)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        record = RpcxRecord(endpoint)
        if self._agent is None:
            self._agent = self._access.connect()
        return KeyLease(self._agent, service, f"{self._base}/{service}/{record.key}", record)

    def list_services(self) -> Iterable[str]:
        prefix = f"{self._base}/"
        with contextlib.closing(self._access.connect()) as agent, agent.errors():
            _, found = agent.client.kv.get(prefix, keys=True, separator="/")
            # py-consul returns None for a status 404.
            keys = typed(found, list[str] | None) or []
        # A service has a key with its name, and a folder with its endpoints. A service without a folder has no
        # endpoints.
        return [key[len(prefix) : -1] for key in keys if key.endswith("/") and key != prefix]

    def remove(self, service: str, address: Address) -> bool:
        key = f"{self._base}/{service}/{RpcxRecord(Endpoint(address)).key}"
        with contextlib.closing(self._access.connect()) as agent, agent.errors():
            _, found = agent.client.kv.get(key)
            if typed(found, dict[str, Any] | None) is None:
                return False
            agent.client.txn.put([{"KV": {"Verb": "delete", "Key": key}}])
            return True

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


class KeyLookup:
    """Fetches all keys of a service, and waits for changes."""

    def __init__(self, prefix: str, agent: Agent) -> None:
        self._prefix = prefix
        self.agent = agent
        self._index = Index()
        self._decoded = DecodedRecords(lambda _, pair: read_key(prefix, pair))

    def fetch(self, wait_seconds: float) -> Listing:
        try:
            with self.agent.errors():
                index, found = self.agent.client.kv.get(
                    self._prefix, recurse=True, **self._index.options(wait_seconds)
                )
                # py-consul returns None for a status 404.
                pairs = typed(found, list[Any] | None) or []
                went_back = self._index.note(index)
        except StoreError:
            self._index.forget()
            raise
        entries = self._decoded.entries((_key_of(pair), pair) for pair in pairs)
        return Listing(entries, is_restart=went_back)

    def close(self) -> None:
        self.agent.close()


class KeyLease:
    """One key, locked by a separate session.

    If an address has two leases, the later lease takes over the key. When the session of the later lease ends, Consul
    deletes the key, and the earlier lease writes it again.
    """

    renew_seconds = 2.0

    def __init__(self, agent: Agent, service: str, key: str, record: RpcxRecord) -> None:
        self._agent = agent
        self._service = service
        self._key = key
        self.record = record
        self._is_leaving = False
        self._session: str | None = None
        #: True if this lease has held the key. Then a session that locks the key now belongs to a later lease.
        self._was_written = False

    def acquire(self) -> None:
        client = self._agent.client
        with self._agent.errors():
            # Renew an earlier session first: if only its answer was lost, the session is still valid, and destroying it
            # would delete the key for a moment.
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
        """Write the key; return False if another session locks it."""
        put = self._agent.client.kv.put
        return bool(typed(put(self._key, self._value(), flags=_FLAGS, acquire=self._session), bool))

    def _take_over(self) -> None:
        """Replace a key that a session of an earlier run still locks, so that the session's end does not delete it."""
        # One transaction deletes and locks the key, so that readers always see it.
        value = base64.b64encode(self._value()).decode()
        lock = {"Verb": "lock", "Key": self._key, "Value": value, "Flags": _FLAGS, "Session": self._session}
        self._agent.client.txn.put([{"KV": {"Verb": "delete", "Key": self._key}}, {"KV": lock}])

    def renew(self) -> bool:
        with self._agent.errors():
            if not self._renew_session():
                return False
            _, found = self._agent.client.kv.get(self._key)
            return typed(found, dict[str, Any] | None) is not None or self._write()

    def rewrite(self) -> bool:
        with self._agent.errors():
            if not self._renew_session():
                return False
            # The write changes nothing if another server has taken over the key.
            self._write()
            return True

    def retire(self) -> bool:
        self._is_leaving = True
        with self._agent.errors():
            # The write changes nothing if another server has taken over the key.
            return self._session is not None and self._write()

    def _value(self) -> bytes:
        return self.record.value(is_inactive=self._is_leaving)

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
                # This also deletes the key, if this server holds it.
                self._agent.client.session.destroy(self._session)
                self._session = None


def _key_of(pair: Any) -> str:
    return str(pair.get("Key")) if isinstance(pair, dict) else "a key"


def read_key(prefix: str, pair: Any) -> Entry | None:
    """Parse one pair below the key of a service; return None for an inactive server."""
    try:
        read = msgspec.convert(pair, _Pair)
    except msgspec.ValidationError as error:
        return "a key", RecordError(f"it does not look like a pair: {error}")
    return read_rpcx_record(read.key.removeprefix(prefix), read.value or b"")
