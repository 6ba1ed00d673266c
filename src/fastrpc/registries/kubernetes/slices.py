"""Endpoints in EndpointSlices (`discovery.k8s.io/v1`): the endpoints to call, and their addresses."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from fastrpc.bounded_http import HttpError, decoded
from fastrpc.errors import ConfigError
from fastrpc.place import HINTS
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.kubernetes.api import ObjectMeta

__all__ = ["DNS_LABEL", "Member", "Reading", "Slice", "chosen", "read_slice", "selector_of"]

#: SERVICE_LABEL: the label of a Service's slices. PREFIX: the prefix of fastrpc's labels, which slices inherit from the
#: Service.
SERVICE_LABEL = "kubernetes.io/service-name"
PREFIX = "fastrpc/"

#: The port name that selects a port of a Service with several ports, and the `appProtocol` of a port with TLS.
PORT_NAME = "fastrpc"
TLS_PROTOCOL = "fastrpc/tls"

#: DNS_LABEL: the form of a Service's name. _LABEL_NAME: the form of a label's name.
DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


class _Conditions(msgspec.Struct):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Pod(msgspec.Struct):
    uid: str = ""


class _Zone(msgspec.Struct, rename="camel"):
    name: str


class _Hints(msgspec.Struct, rename="camel"):
    for_zones: list[_Zone] | None = None


class _Endpoint(msgspec.Struct, rename="camel"):
    addresses: list[str]
    conditions: _Conditions | None = None
    target_ref: _Pod | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: _Hints | None = None


class _Port(msgspec.Struct, rename="camel"):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class _Named(msgspec.Struct):
    metadata: ObjectMeta


class _Slice(_Named, rename="camel"):
    address_type: str
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The options of a URL for reading slices."""

    #: Name or number of the port; "" means the port named `fastrpc`, or else the only port.
    port: str = ""

    #: "tcp" or "tls"; "" means that the `appProtocol` of the port decides.
    scheme: str = ""

    #: The address to use if a pod has two: "ipv4" or "ipv6".
    family: str = "ipv4"


class Member(NamedTuple):
    """An endpoint of a slice that may be called."""

    #: Identifies the pod and the port; it is the same for all addresses of a pod.
    pod: tuple[str, int]

    #: True if the pod terminates, and True if its address has the family that is not preferred. The lowest rank is
    #: used.
    rank: tuple[bool, bool]

    address: str

    #: The properties of the record, in the form for `read_texts`.
    texts: dict[str, str]


class Slice(NamedTuple):
    """The relevant parts of a slice."""

    name: str
    version: str

    #: The service names for which clients find these endpoints.
    services: frozenset[str]

    #: The names that are certainly services of fastrpc, not other Services of the namespace.
    own_services: frozenset[str]

    members: list[Member]

    #: The error of a slice that cannot be read.
    error: RecordError | None = None


def selector_of(service: str) -> str:
    """Return the selector of the slices of a service.

    Raises:
        ConfigError: a label cannot have the name as its value.
    """
    if DNS_LABEL.fullmatch(service):
        return f"{SERVICE_LABEL}={service}"
    if not _LABEL_NAME.fullmatch(service):
        raise ConfigError(
            f"{service!r} cannot be a label of Kubernetes",
            hint="a name there has at most 63 letters, digits, `-`, `_` and `.`",
        )
    return f"{PREFIX}{service}"


def read_slice(text: msgspec.Raw, reading: Reading) -> Slice:
    """Return a slice. A malformed slice has `error` set.

    Raises:
        HttpError: the text has no metadata.
    """
    metadata = decoded(bytes(text), _Named).metadata
    labels = metadata.labels or {}
    labelled = {key.removeprefix(PREFIX) for key in labels if key.startswith(PREFIX)}
    own = frozenset(name for name in labelled if not DNS_LABEL.fullmatch(name))
    found = Slice(metadata.name, metadata.resource_version, own | {labels.get(SERVICE_LABEL, "")}, own, [])
    try:
        read = decoded(bytes(text), _Slice)
        if reading.port or any(_is_own(port) for port in read.ports or ()):
            found = found._replace(own_services=found.services)
        return found._replace(members=list(_members(read, reading)))
    except HttpError as error:
        return found._replace(error=RecordError(f"it does not look like a slice: {error}"))
    except RecordError as error:
        return found._replace(error=error)


def chosen(slices: Iterable[Slice]) -> Iterator[Member]:
    """Yield the endpoints to call, one for each pod. Terminating endpoints are used only if there are no others."""
    best: dict[tuple[str, int], Member] = {}
    for each in slices:
        for member in each.members:
            # Kubernetes may list a pod in two slices while it moves the pod from one to the other.
            if member.pod not in best or member.rank < best[member.pod].rank:
                best[member.pod] = member
    is_any_ready = any(not is_terminating for is_terminating, _ in (one.rank for one in best.values()))
    return (one for one in best.values() if not (is_any_ready and one.rank[0]))


def _members(read: _Slice, reading: Reading) -> Iterator[Member]:
    asked = [(one, _terminates(one.conditions)) for one in read.endpoints or ()]
    endpoints = [(one, terminates) for one, terminates in asked if terminates is not None]
    if not endpoints:
        # Return before the port is looked up: if no pod is ready, the ports may be missing too.
        return
    port = _port(read.ports or [], reading.port)
    scheme = reading.scheme or ("tls" if port.app_protocol == TLS_PROTOCOL else "tcp")
    is_other = read.address_type.lower() != reading.family
    for one, terminates in endpoints[:MOST_ENDPOINTS]:
        for host in one.addresses[:1]:
            # All addresses of an endpoint lead to the same pod.
            address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port.port}"
            uid = one.target_ref.uid if one.target_ref is not None else ""
            yield Member((uid or host, port.port or 0), (terminates, is_other), address, _texts(one))


def _terminates(conditions: _Conditions | None) -> bool | None:
    """Return whether an endpoint is terminating; None if it may not be called."""
    if conditions is None or conditions.ready is not False:
        return False
    return True if conditions.serving and conditions.terminating else None


def _texts(endpoint: _Endpoint) -> dict[str, str]:
    zones = [] if endpoint.hints is None else endpoint.hints.for_zones or []
    texts = {
        "zone": endpoint.zone,
        "node": endpoint.node_name,
        HINTS: ",".join(zone.name for zone in zones),
    }
    return {name: text for name, text in texts.items() if text}


def _is_own(port: _Port) -> bool:
    return port.name == PORT_NAME or (port.app_protocol or "").startswith(PREFIX)


def _port(ports: Sequence[_Port], wanted: str) -> _Port:
    """Return the port to dial.

    Raises:
        RecordError: no port matches, or several match.
    """
    dialable = [port for port in ports if port.port and (port.protocol or "TCP") == "TCP"]
    if wanted.isdecimal():
        # A headless Service may have no ports.
        given = [] if ports else [_Port(port=int(wanted))]
        found = [port for port in dialable if port.port == int(wanted)] or given
    elif wanted:
        found = [port for port in dialable if port.name == wanted]
    else:
        only = dialable if len(dialable) == 1 else []
        found = [port for port in dialable if port.name == PORT_NAME] or only
    if not found:
        asked = f"no port {wanted}" if wanted else f"no port named {PORT_NAME}, and not exactly one"
        raise RecordError(f"it has {asked}")
    return found[0]
