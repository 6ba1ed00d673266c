"""Endpoints as nodes of ZooKeeper in the layout of rpcx: lookups, and registrations as ephemeral nodes."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from kazoo.exceptions import KazooException, NoAuthError, NodeExistsError, NoNodeError

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.layouts import RpcxLayout
from fastrpc.registries.base.poller import WAIT_SECONDS, WakeFlag
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.zookeeper.session import ZookeeperSession
from fastrpc.status import Status

__all__ = ["NodeLease", "NodeLookup", "ZookeeperNodes"]

#: The number of nodes that are requested concurrently.
PAGE_NODES = 128


class ZookeeperNodes:
    """A backend over the nodes below a path."""

    def __init__(self, session: ZookeeperSession, layout: RpcxLayout) -> None:
        self._session, self._layout = session, layout

    def open_lookup(self, service: str) -> SingleLookup:
        return SingleLookup(self.open_shared(), service)

    def open_shared(self) -> "NodeLookup":
        return NodeLookup(self._session, self._layout)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        return NodeLease(self._session, self._layout, service, endpoint)

    def list_services(self) -> Iterable[str]:
        base = "/" + self._layout.prefix.rstrip("/")
        with _answers():
            try:
                names = self._session.ask(lambda client: client.get_children_async(base))
            except NoNodeError:
                return []
            found = _each(self._session, names, lambda client, name: client.exists_async(f"{base}/{name}"))
            return [name for name, stat in found if stat is not None and stat.numChildren]

    def remove(self, service: str, address: Address) -> bool:
        name, _ = self._layout.record(Endpoint(address))
        with _answers():
            try:
                self._session.ask(
                    lambda client: client.delete_async(f"/{self._layout.prefix}{service}/{name}")
                )
            except NoNodeError:
                return False
        return True

    def close(self) -> None:
        self._session.close()


class _Nodes:
    """The nodes of one service."""

    def __init__(self, layout: RpcxLayout, woken: WakeFlag) -> None:
        self.decoded = DecodedRecords(layout.read)
        #: Names and values that `fetch` returned last; None if it must return them again.
        self.told: list[tuple[str, bytes]] | None = None
        self.read_at = float("-inf")
        #: True if the server has lost its data since the last returned listing.
        self.is_restart = False
        # The transaction that created the parent of the nodes; 0 if no parent has been seen.
        self._made = 0
        self._woken = woken

    def note(self, event: Any = None) -> None:
        """Make `fetch` read the nodes again. Called in a thread of the session."""
        self.read_at = float("-inf")
        self._woken.set()

    def note_parent(self, made: int) -> None:
        """Store the transaction that created the parent; 0 if the parent is missing.

        Parents are never deleted. So another transaction means that the server has lost its data.
        """
        self.is_restart |= self._made not in (0, made)
        self._made = made


class NodeLookup:
    """Reads the nodes of services when nodes are added or removed, and their values every few seconds.

    Args:
        clock: returns monotonic time in seconds.
    """

    def __init__(
        self, session: ZookeeperSession, layout: RpcxLayout, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session, self._layout = session, layout
        self._clock = clock
        self._woken = WakeFlag()
        self._nodes: dict[str, _Nodes] = {}
        session.listeners.add(self._note_loss)

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self._nodes = {name: self._nodes.get(name) or _Nodes(self._layout, self._woken) for name in services}
        for name in again:
            self._forget(self._nodes[name])

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing | StoreError]:
        oldest = min((one.read_at for one in self._nodes.values()), default=self._clock())
        self._woken.wait(min(wait_seconds, oldest + WAIT_SECONDS - self._clock()))
        self._woken.clear()
        changed: dict[str, Listing | StoreError] = {}
        try:
            for service, nodes in self._nodes.items():
                if nodes.read_at + WAIT_SECONDS <= self._clock():
                    found = self._list(service, nodes)
                    if isinstance(found, StoreError):
                        nodes.told, changed[service] = None, found
                        continue
                    if found != nodes.told or nodes.is_restart:
                        nodes.told = found
                        changed[service] = Listing(nodes.decoded.entries(found), is_restart=nodes.is_restart)
        except StoreError:
            for nodes in self._nodes.values():
                self._forget(nodes)
            raise
        # Reset the flags only now: if one listing raises an error, no listing is returned.
        for service, listing in changed.items():
            if isinstance(listing, Listing):
                self._nodes[service].is_restart = False
        return changed

    def _list(self, service: str, nodes: _Nodes) -> list[tuple[str, bytes]] | StoreError:
        """Return names and values, or the error if only this service cannot be read."""
        with _answers():
            try:
                with _answers():
                    made, read = self._read(service, nodes)
                    records = list(read)
                    nodes.note_parent(made)
                    return records
            except StoreError as error:
                self._session.ask(_nothing)
                return error

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        self._session.listeners.discard(self._note_loss)
        self._woken.set()

    def _forget(self, nodes: _Nodes) -> None:
        nodes.told, nodes.read_at = None, float("-inf")

    def _note_loss(self) -> None:
        """Make `fetch` read all nodes again, because their watches may be lost. Called in a thread of the session."""
        for nodes in list(self._nodes.values()):
            nodes.note()

    def _read(self, service: str, nodes: _Nodes) -> tuple[int, Iterator[tuple[str, bytes]]]:
        """Return the transaction that created the parent, names, and values; watch for added and removed nodes."""
        path = f"/{self._layout.prefix}{service}"
        # Take the time before the request, so that changes during the request count as later.
        nodes.read_at = self._clock()
        try:
            names, found = self._session.ask(
                lambda client: client.get_children_async(path, watch=nodes.note, include_data=True)
            )
            made = found.czxid
        except NoNodeError:
            # The watch reports the creation of the service. If the service exists by now, read it again immediately.
            if self._session.ask(lambda client: client.exists_async(path, watch=nodes.note)) is not None:
                nodes.note()
            names, made = [], 0
        read = _each(
            self._session,
            sorted(names)[: MOST_ENDPOINTS + 1],
            lambda client, name: client.get_async(f"{path}/{name}"),
        )
        return made, ((name, found[0]) for name, found in read)


class NodeLease:
    """The record of one endpoint: an ephemeral node, which the server deletes when the session ends.

    If an address is registered twice, the later registration writes the record. After its removal the other
    registration writes the record again.
    """

    def __init__(
        self, session: ZookeeperSession, layout: RpcxLayout, service: str, endpoint: Endpoint
    ) -> None:
        self.renew_seconds = min(2.0, session.ttl_seconds / 3)
        self._session, self._layout = session, layout
        self._service = service
        self.record = endpoint
        self._is_leaving = False
        name, _ = layout.record(endpoint)
        self._parent = f"/{layout.prefix}{service}"
        self._path = f"{self._parent}/{name}"
        # The transaction that created our node; 0 if unknown.
        self._made = 0
        # The value of the node; empty if unknown.
        self._kept = b""

    def acquire(self) -> None:
        with _answers():
            found = self._session.ask(lambda client: client.exists_async(self._path))
            is_ours = found is not None and found.czxid == self._made
            if is_ours and found.ephemeralOwner == self._session.id and self._kept == self._value():
                # The record is unchanged since this registration wrote it.
                return
            self._make_parent()
            self._write(is_there=found is not None)

    def renew(self) -> bool:
        with _answers():
            # The result is True also if another server has taken over the record.
            return self._session.ask(lambda client: client.exists_async(self._path)) is not None

    def release(self) -> None:
        with _answers(), contextlib.suppress(NoNodeError):
            if self._is_ours():
                self._session.ask(lambda client: client.delete_async(self._path))

    def rewrite(self) -> bool:
        with _answers():
            found = self._session.ask(lambda client: client.exists_async(self._path))
            if found is None:
                return False
            if not self._made or found.czxid != self._made:
                # Another server has taken over the record, which is kept.
                return True
            if found.ephemeralOwner != self._session.id:
                # The node belongs to an earlier session and will be deleted with it.
                return False
            self._write(is_there=True)
            return True

    def retire(self) -> bool:
        """Mark the server as inactive, so that clients skip it."""
        self._is_leaving = True
        with _answers():
            if not self._is_ours():
                return False
            self._write(is_there=True)
            return True

    def _make_parent(self) -> None:
        """Create the node of the service, which is permanent and has the service's name as its value."""
        if self._session.ask(lambda client: client.exists_async(self._parent)) is None:
            base = "/" + self._layout.prefix.rstrip("/")
            self._session.ask(lambda client: client.ensure_path_async(base))
            with contextlib.suppress(NodeExistsError):
                self._session.ask(lambda client: client.create_async(self._parent, self._service.encode()))

    def _write(self, *, is_there: bool) -> None:
        """Create the node, in place of any existing node.

        A new node belongs to the current session. Clients notice immediately that a node was created, but a changed
        value only later.
        """
        value = self._value()
        # Until the answer arrives, the value of the node is unknown.
        self._kept = b""
        results = self._session.ask(lambda client: self._written(client, value, is_there=is_there))
        refusals = [one for one in results if isinstance(one, Exception)]
        if any(isinstance(one, NoAuthError) for one in refusals):
            raise StoreError("ZooKeeper: the login is refused", status=Status.PERMISSION_DENIED)
        if refusals:
            raise StoreError(f"ZooKeeper: the record was not written: {type(refusals[-1]).__name__}")
        made = self._session.ask(lambda client: client.exists_async(self._path))
        self._made, self._kept = (0, b"") if made is None else (made.czxid, value)

    def _written(self, client: Any, value: bytes, *, is_there: bool) -> Any:
        """Start one transaction that replaces the node, so that readers always see a node."""
        transaction = client.transaction()
        if is_there:
            transaction.delete(self._path)
        transaction.create(self._path, value, ephemeral=True)
        return transaction.commit_async()

    def _value(self) -> bytes:
        return self._layout.record(self.record, is_leaving=self._is_leaving)[1]

    def _is_ours(self) -> bool:
        found = self._session.ask(lambda client: client.exists_async(self._path))
        return found is not None and bool(self._made) and found.czxid == self._made


def _each(session: ZookeeperSession, names: list[str], ask: Any) -> Iterator[tuple[str, Any]]:
    """Yield names with the answers to their requests, without nodes that were removed."""
    for start in range(0, len(names), PAGE_NODES):
        page = names[start : start + PAGE_NODES]
        # The additional request ensures that errors are returned: a single request would raise its error.
        answers = session.ask_all([*(partial(ask, name=name) for name in page), _nothing])
        for name, found in zip(page, answers, strict=False):
            if not isinstance(found, NoNodeError):
                if isinstance(found, Exception):
                    raise found
                yield name, found


def _nothing(client: Any) -> Any:
    return client.exists_async("/")


@contextlib.contextmanager
def _answers() -> Iterator[None]:
    """Raise unexpected answers inside the block as StoreError. The next attempt starts from the current state."""
    try:
        yield
    except NodeExistsError as error:
        raise StoreError("ZooKeeper: another server registers at the same address") from error
    except KazooException as error:
        raise StoreError(f"ZooKeeper: {type(error).__name__}") from error
