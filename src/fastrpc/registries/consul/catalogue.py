"""Services in Consul's catalogue. Each endpoint is a service instance with a check; its metadata has the record.

Instances that other programs registered are listed as well, with their metadata as labels.
"""

import contextlib
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.networks import place_name
from fastrpc.registries.base.backend import Entry, Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.record import RECORD_FORMAT, RecordError, read_texts, to_texts
from fastrpc.registries.base.rpcx_record import KEY_CHARACTERS
from fastrpc.registries.consul.agent import Agent, AgentAccess, Index, typed
from fastrpc.status import Status

__all__ = ["ConsulCatalogue", "InstanceLease", "InstanceLookup", "read_instance"]

#: The metadata key of our instances; its value is the format of the record.
FORMAT_KEY = "fastrpc-record"

SCHEME_KEY = "fastrpc-scheme"

#: The metadata key with the registration that wrote the instance. Several registrations may share an address.
OWNER_KEY = "fastrpc-owner"

#: Consul's limits for metadata.
_META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_META_KEYS = 64

#: The time after which Consul removes a critical instance. One minute is Consul's minimum.
_FORGET = "1m"

#: The name of Consul's own service.
_CONSUL = "consul"


class _Weights(msgspec.Struct):
    passing: int = msgspec.field(name="Passing", default=1)


class _Definition(msgspec.Struct):
    """The fields of a service instance that are read; Consul omits empty fields or sets them to null."""

    id: str = msgspec.field(name="ID")
    port: int = msgspec.field(name="Port")
    address: str = msgspec.field(name="Address", default="")
    meta: dict[str, str] | None = msgspec.field(name="Meta", default=None)
    weights: _Weights | None = msgspec.field(name="Weights", default=None)


class _Node(msgspec.Struct):
    address: str = msgspec.field(name="Address", default="")


class _Instance(msgspec.Struct):
    service: _Definition = msgspec.field(name="Service")
    node: _Node | None = msgspec.field(name="Node", default=None)


class _Listed(msgspec.Struct):
    """An instance in the catalogue, whatever the state of its checks."""

    node: str = msgspec.field(name="Node")
    id: str = msgspec.field(name="ServiceID")
    port: int = msgspec.field(name="ServicePort")
    address: str = msgspec.field(name="ServiceAddress", default="")
    node_address: str = msgspec.field(name="Address", default="")
    meta: dict[str, str] | None = msgspec.field(name="ServiceMeta", default=None)

    def is_at(self, address: Address) -> bool:
        scheme = (self.meta or {}).get(SCHEME_KEY, "tcp")
        place = (scheme, self.address or self.node_address, self.port)
        return place == (address.scheme, address.host, address.port)


class ConsulCatalogue:
    """A backend over the services of an agent.

    Args:
        tags: the tags of registered instances. Watched instances without all of these tags are ignored.
        check: "ttl" if the program renews the check, "tcp" if the agent tries to connect.
        ttl_seconds: seconds without renewal after which the check is critical. A `tcp` check tries three times in this
            time.
    """

    def __init__(self, access: AgentAccess, *, tags: Sequence[str], check: str, ttl_seconds: int) -> None:
        self._access = access
        self._tags = list(tags)
        self._check = check
        self._ttl_seconds = ttl_seconds
        # All leases share this client, because one thread uses all leases.
        self._agent: Agent | None = None

    def open_lookup(self, service: str) -> "InstanceLookup":
        return InstanceLookup(service, self._access.connect(), self._tags)

    def open_beside(self, service: str, lookup: "InstanceLookup") -> "InstanceLookup":
        return InstanceLookup(service, lookup.agent, self._tags)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        definition = self._definition(service, endpoint)
        if self._agent is None:
            self._agent = self._access.connect()
        return InstanceLease(self._agent, definition, self._ttl_seconds, has_ttl=self._check == "ttl")

    def list_services(self) -> Iterable[str]:
        with contextlib.closing(self._access.connect()) as agent, agent.errors():
            _, found = agent.client.catalog.services()
            services = typed(found, dict[str, list[str]])
        return [name for name, tags in services.items() if name != _CONSUL and set(self._tags).issubset(tags)]

    def remove(self, service: str, address: Address) -> bool:
        with contextlib.closing(self._access.connect()) as agent, agent.errors():
            _, found = agent.client.catalog.service(service)
            listed = [one for one in typed(found, list[_Listed]) if one.is_at(address)]
            for one in listed:
                # An agent would list its own instances in the catalogue again, so deregister the instance at the agent
                # first.
                own = typed(agent.client.agent.service_definition(one.id), _Definition | None)
                if own is not None and (own.address, own.port) == (one.address, one.port):
                    agent.client.agent.service.deregister(one.id)
                agent.client.catalog.deregister(one.node, service_id=one.id)
            return bool(listed)

    def _definition(self, service: str, endpoint: Endpoint) -> dict[str, Any]:
        address = endpoint.address
        if not address.host or not address.port:
            raise ConfigError(f"{address} cannot be registered with Consul", hint="register host and port")
        texts = {FORMAT_KEY: str(RECORD_FORMAT), SCHEME_KEY: address.scheme, OWNER_KEY: secrets.token_hex(8)}
        texts = to_texts(endpoint) | texts
        for key in texts:
            if not _META_KEY.fullmatch(key):
                raise ConfigError(
                    f"label {key!r} cannot be kept by Consul", hint="use letters, digits, `-` and `_`"
                )
        if len(texts) > _META_KEYS:
            raise ConfigError(f"{endpoint} has {len(endpoint.labels)} labels, Consul keeps {_META_KEYS - 7}")
        check: dict[str, Any] = {"DeregisterCriticalServiceAfter": _FORGET, "Status": "passing"}
        if self._check == "ttl":
            check["TTL"] = f"{self._ttl_seconds}s"
        else:
            check |= {
                "TCP": place_name(address.host, address.port),
                "Interval": f"{self._ttl_seconds / 3:.3f}s",
                "Timeout": "1s",
            }
        return {
            "name": service,
            "service_id": f"{service}@{address.host}:{address.port}",
            "address": address.host,
            "port": address.port,
            "tags": self._tags,
            "meta": texts,
            "weights": {"Passing": max(1, endpoint.weight), "Warning": 1},
            "check": check,
        }

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


class InstanceLookup:
    """Fetches the passing instances of a service, and waits for changes."""

    def __init__(self, service: str, agent: Agent, tags: Sequence[str]) -> None:
        from consul.callback import CB

        self.agent = agent
        self._path = f"/v1/health/service/{service}"
        self._params = [("passing", "1"), *(("tag", tag) for tag in tags), *agent.datacenter]
        self._index = Index()
        self._decode = CB.json(index=True)
        self._decoded = DecodedRecords(lambda _, instance: read_instance(instance))
        # `_answer`: the hash of the last answer. `_entries`: its entries.
        self._answer: tuple[int, str] | None = None
        self._entries: list[Entry] = []

    def fetch(self, wait_seconds: float) -> Listing:
        params = [*self._params, *self._index.options(wait_seconds).items()]
        try:
            with self.agent.errors():
                went_back = self._index.note(self.agent.client.http.get(self._read, self._path, params))
        except StoreError:
            self._index.forget()
            raise
        return Listing(self._entries, is_restart=went_back)

    def _read(self, response: Any) -> Any:
        """Read an answer, and return its index. An answer that equals the last one is not decoded again."""
        answer = response.code, response.body
        if answer != self._answer:
            _, found = self._decode(response)
            instances = typed(found, list[Any])
            self._entries = self._decoded.entries((_key_of(one), one) for one in instances)
            self._answer = answer
        return response.headers.get("X-Consul-Index")

    def close(self) -> None:
        self.agent.close()


class InstanceLease:
    """Registers one instance with the agent, and keeps its check passing.

    If an address is registered twice, the later registration overwrites the instance, and both renew its check. When
    the later one removes the instance, the earlier one writes it again.
    """

    def __init__(self, agent: Agent, definition: dict[str, Any], ttl_seconds: int, *, has_ttl: bool) -> None:
        # If the agent restarts without the instance, the instance must be written again within five seconds.
        self.renew_seconds = min(2.0, ttl_seconds / 3)
        self._agent = agent
        self.record = definition
        self._id = definition["service_id"]
        self._owner = definition["meta"][OWNER_KEY]
        self._has_ttl = has_ttl

    def acquire(self) -> None:
        with self._agent.errors():
            # Add the owner here, because a changed record has no owner.
            meta = self.record["meta"] | {OWNER_KEY: self._owner}
            self._agent.client.agent.service.register(
                **self.record | {"meta": meta}, replace_existing_checks=True
            )

    def rewrite(self) -> bool:
        owner = self._written_by()
        if owner == self._owner:
            # The agent replaces the instance. Its check stays in the state "passing".
            self.acquire()
        return owner is not None

    def renew(self) -> bool:
        client = self._agent.client
        if not self._has_ttl:
            return self._written_by() is not None
        try:
            with self._agent.errors():
                return bool(client.agent.check.ttl_pass(f"service:{self._id}"))
        except StoreError as error:
            # An agent without the check answers with status 404, or 500 like other failures. Return False in both
            # cases: the caller writes the instance again, which shows whether the agent works. Other statuses, such as
            # a missing permission, do not mean that the instance is lost.
            if error.status is not Status.UNAVAILABLE or not str(error.__cause__).startswith(("404", "500")):
                raise
            return False

    def release(self) -> None:
        if self._written_by() == self._owner:
            with self._agent.errors():
                self._agent.client.agent.service.deregister(self._id)

    def _written_by(self) -> str | None:
        """Return the registration that wrote the instance in the agent; None if there is no instance."""
        with self._agent.errors():
            # py-consul returns None for a status 404.
            found: _Definition | None = typed(
                self._agent.client.agent.service_definition(self._id), _Definition | None
            )
        if found is None or found.id != self._id:
            return None
        return (found.meta or {}).get(OWNER_KEY, "")


def read_instance(instance: Any) -> Entry:
    """Parse one element of `/v1/health/service`, written by fastrpc or another program."""
    key = _id_of(instance)[:KEY_CHARACTERS]
    try:
        read = msgspec.convert(instance, _Instance)
        service = read.service
        host = service.address or ("" if read.node is None else read.node.address)
        if not host:
            raise RecordError("it has no address")
        return key, _read(host, service.port, dict(service.meta or {}), service.weights)
    except msgspec.ValidationError as error:
        return key, RecordError(f"it does not look like an instance: {error}")
    except RecordError as error:
        return key, error


def _id_of(instance: Any) -> str:
    """Return the name of an instance for messages."""
    with contextlib.suppress(KeyError, TypeError, IndexError):
        return str(instance["Service"]["ID"])
    return "an instance"


def _key_of(instance: Any) -> str:
    """Return a key that is unique among all nodes. Instances on two nodes may have the same ID."""
    with contextlib.suppress(KeyError, TypeError, IndexError):
        return f"{instance['Node']['Node']}/{_id_of(instance)}"
    return _id_of(instance)


def _read(host: str, port: int, meta: dict[str, str], weights: "_Weights | None") -> Endpoint:
    place = f"{f'[{host}]' if ':' in host else host}:{port}"
    found = meta.pop(FORMAT_KEY, None)
    if found is None:
        # Another program wrote the instance: use Consul's weight, and only keys with a common meaning.
        if weights is not None:
            meta.setdefault("weight", str(weights.passing))
        return read_texts(f"tcp://{place}", meta)
    if found != str(RECORD_FORMAT):
        raise RecordError(f"it has format {found!r}, the supported format is {RECORD_FORMAT}")
    meta.pop(OWNER_KEY, None)
    return read_texts(f"{meta.pop(SCHEME_KEY, 'tcp')}://{place}", meta)
