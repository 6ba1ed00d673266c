"""Several registries as one, for clusters that move to another registry, or must survive the loss of one."""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Self, TypeAlias, TypeVar

from fastrpc.config import TLS
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.closing import Closing
from fastrpc.registries.base.held import HeldRecord
from fastrpc.registries.base.names import NamesThread
from fastrpc.registries.base.registry import Registry, tls_for
from fastrpc.registries.base.snapshot import Snapshot
from fastrpc.registries.base.urls import is_opened, open_registry
from fastrpc.registries.base.watch import Channel, ServicesWatch, Watch
from fastrpc.status import Status
from fastrpc.together import together

__all__ = ["MemberView", "Merged", "MergedRegistration", "MergedUnion"]

T = TypeVar("T")

#: Takes the number of a member and its list; returns the list to merge.
MemberView: TypeAlias = Callable[[int, Sequence[Endpoint]], Sequence[Endpoint]]

logger = logging.getLogger("fastrpc.registry")

#: The most seconds until the failure of a registry is noticed. An endpoint that another registry removed up to this
#: long before is dropped from the failed registry's last list too.
NOTICE_SECONDS = 20.0


class Merged(Closing):
    """A registry over several member registries. Servers register in all members that accept servers; clients use the
    union of the lists.

    If two members have an address, the record of the first member is used. A record of an unreachable member is used
    only if no reachable member has the address. The last list of an unreachable member stays in use, except endpoints
    that other members listed and then removed.

    Args:
        registries: URLs, which are opened and closed here, or objects, which their owners close.
        tls: the certificates for URLs with `tls=true` that name no certificates.
        view: returns a new `MemberView` for each watch, which changes the lists before they are merged; None merges
            them unchanged.

    Raises:
        ConfigError: the list is empty, or a member is wrong or repeated.
    """

    def __init__(
        self,
        registries: Sequence[str | Registry],
        *,
        tls: TLS | None = None,
        view: Callable[[], MemberView] | None = None,
    ) -> None:
        if not isinstance(registries, list | tuple) or not registries:
            # The value is omitted: a URL may contain a token.
            raise ConfigError("several registries are a list of at least one", hint='write ["URL", "URL"]')
        if any(one in registries[:index] for index, one in enumerate(registries)):
            raise ConfigError("a registry is given twice in one list", hint="leave one out")
        self._members: list[Any] = [open_registry(one, tls=tls) for one in registries]
        self._owned = [one for one, given in zip(self._members, registries, strict=True) if is_opened(given)]
        self._view = view
        self._versions = itertools.count(1)
        self._unions: set[MergedUnion] = set()
        # The entered registrations.
        self._entered: list[MergedRegistration] = []
        # The last known service names of each member.
        self._names: dict[int, list[str]] = {}
        self._listed: set[NamesThread] = set()
        self._is_closed = False

    def register(self, service: str, endpoint: Endpoint) -> "MergedRegistration":
        """Return a registration in every member that accepts servers.

        Raises:
            ConfigError: no member accepts servers, or a member cannot hold this endpoint.
        """
        parts: dict[int, HeldRecord] = {}
        refused: ConfigError | None = None
        for index, member in enumerate(self._members):
            try:
                parts[index] = HeldRecord(partial(member.register, service), endpoint)
            except ConfigError as error:
                if error.status is not Status.UNIMPLEMENTED:
                    raise
                logger.info("%s: %s is not registered there: %s", service, endpoint, error.message)
                refused = refused or error
        if refused is not None and not parts:
            raise refused
        return MergedRegistration(service, endpoint, parts, self._entered)

    def watch(self, service: str) -> Watch:
        """Watch the union of the lists of a service, until the watch is closed or dropped."""
        if self._is_closed:
            raise RuntimeError(f"{self!r} is closed")
        with ExitStack() as stack:
            watches = [
                stack.enter_context(_checked(member, member.watch(service))) for member in self._members
            ]
            view = None if self._view is None else self._view()
            union = MergedUnion(watches, Channel(self._versions), view=view)
            stack.pop_all()
        self._unions.add(union)

        def release() -> None:
            self._unions.discard(union)
            union.close()

        return Watch(union.channel, release)

    def tls_for(self, endpoint: Endpoint, own: TLS | None) -> TLS | None:
        """Return the certificates for connections of a client to an endpoint. The first member that lists it decides.

        Args:
            own: the certificates of the client.
        """
        for index, member in enumerate(self._members):
            if any(union.is_listed(index, endpoint) for union in list(self._unions)):
                return tls_for(member, endpoint, own)
        return own

    def check_service(self, service: str) -> None:
        """Refuse a name unless every member can watch it.

        Raises:
            ConfigError: the name is invalid, or a member cannot look it up.
        """
        for member in self._members:
            if hasattr(member, "check_service"):
                member.check_service(service)

    def services(self) -> list[str]:
        """Return the names of the services in all members; for an unreachable member, its last known names. Blocks.

        Raises:
            ConfigError: no member can list its services.
            StoreError: no member can be reached now, or a member cannot be reached and the others have no service.
        """

        def listed(index: int, member: Any) -> list[str]:
            try:
                self._names[index] = member.services()
            except StoreError:
                if index not in self._names:
                    raise
            return self._names[index]

        return sorted(set().union(*self._ask_each(listed, needs_all=False)))

    def watch_services(self) -> ServicesWatch:
        """Watch the names of the services in all members, which are queried every two seconds.

        If no member can list its services, the watch ends with ConfigError.
        """
        if self._is_closed:
            raise RuntimeError(f"{self!r} is closed")
        listed = NamesThread(self.services, repr(self))
        self._listed.add(listed)

        def release() -> None:
            self._listed.discard(listed)
            listed.stop()

        return ServicesWatch(listed.channel, release)

    def remove(self, service: str, address: str | Address) -> bool:
        """Delete the records of an address in all members that can delete records; blocks while they answer.

        Returns:
            Whether there was a record.

        Raises:
            ConfigError: the address is invalid, or no member deletes records.
            StoreError: a member cannot be reached now, or refuses; the others have deleted their records.
        """
        return any(self._ask_each(lambda _, member: bool(member.remove(service, address)), needs_all=True))

    def _ask_each(self, ask: Callable[[int, Any], T], *, needs_all: bool) -> list[T]:
        """Return the answers of all members, without members whose kind of registry cannot answer."""
        answers: list[T] = []
        refusals: list[ConfigError] = []
        failures: list[StoreError] = []
        for index, member in enumerate(self._members):
            try:
                answers.append(ask(index, member))
            except ConfigError as error:
                refusals.append(error)
            except StoreError as error:
                failures.append(error)
        # The failed member may be the only one with a result.
        if failures and (needs_all or not any(answers)):
            raise failures[0]
        if not answers:
            raise refusals[0]
        return answers

    def close(self) -> None:
        """End all watches, and close the members that were opened here. Closing twice is allowed."""
        self._end()
        for member in self._owned:
            member.close()

    async def aclose(self) -> None:
        """Close without blocking the loop."""
        self._end()
        await asyncio.gather(*(member.aclose() for member in self._owned))

    def _end(self) -> None:
        self._is_closed = True
        for union in list(self._unions):
            union.close()
        for listed in list(self._listed):
            listed.stop()

    def __repr__(self) -> str:
        return f"<registries {', '.join(map(repr, self._members))}>"


class MergedRegistration:
    """One endpoint in the lists of several registries while the block of `async with` lasts."""

    def __init__(
        self,
        service: str,
        endpoint: Endpoint,
        parts: Mapping[int, HeldRecord],
        entered: list["MergedRegistration"],
    ) -> None:
        self.service, self.endpoint = service, endpoint
        self._parts = parts
        # All registrations at the same registries whose blocks have begun. This one is included while its block lasts.
        self._entered = entered
        self._held: dict[int, HeldRecord] = {}

    @property
    def is_registered(self) -> bool:
        """True if at least one member holds this record and all other records of this program."""
        return any(all(one.is_held(index) for one in [self, *self._entered]) for index in self._parts)

    def is_held(self, index: int) -> bool:
        """Return whether a member holds the record, as far as known."""
        return index in self._held and self._held[index].is_registered

    async def __aenter__(self) -> Self:
        try:
            await together(self._enter(index) for index in self._parts)
        except BaseException:
            await self.__aexit__()
            raise
        self._entered.append(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self in self._entered:
            self._entered.remove(self)
        await together(self._leave(index) for index in list(self._held))

    async def change(self, endpoint: Endpoint) -> None:
        """Register another endpoint of the same address in every member that holds the record.

        Raises:
            ConfigError: the endpoint has another address, or a member cannot hold it.
            StoreError: a member refuses the record. After either error the other members have the new record.
        """
        await together(part.change(endpoint) for part in list(self._held.values()))
        self.endpoint = endpoint

    async def retire(self) -> bool:
        """Mark the records as leaving. Withdraw records from registries that have no such mark.

        Returns:
            True if at least one registry has stored the mark.
        """
        return any(await together(self._retire(index) for index in list(self._held)))

    async def _enter(self, index: int) -> None:
        await self._parts[index].enter()
        self._held[index] = self._parts[index]

    async def _leave(self, index: int) -> None:
        await self._held.pop(index).leave()

    async def _retire(self, index: int) -> bool:
        is_marked = await self._held[index].retire()
        if not is_marked:
            await self._leave(index)
        return is_marked


class MergedUnion:
    """The lists of one service in all members. The thread of the member that changed merges them.

    Args:
        clock: returns monotonic time in seconds.
        view: changes the list of a member before it is merged.
    """

    def __init__(
        self,
        watches: Sequence[Watch],
        channel: Channel,
        clock: Callable[[], float] = time.monotonic,
        view: MemberView | None = None,
    ) -> None:
        self.channel = channel
        self._view = view
        self._watches = watches
        self._clock = clock
        # `_found`: the last snapshot of each member. `_lists`: the endpoints in it by address.
        self._found: list[Snapshot | None] = [None] * len(watches)
        self._lists: list[dict[str, Endpoint]] = [{} for _ in watches]
        # `_settled`: the endpoints of each member when it was last settled. `_away_since`: the time at which the member
        # ceased to be settled.
        self._settled: list[dict[str, Endpoint]] = [{} for _ in watches]
        self._away_since = [float("inf")] * len(watches)
        # The time at which a settled member removed an address. The entry is deleted if any list has the address again.
        self._removed: dict[str, float] = {}
        self._has_news = False
        self._merging = threading.Lock()
        for watch in watches:
            watch.listen(self.update)
        self.update()

    def update(self) -> None:
        """Merge the lists, without blocking. If another thread is merging, that thread merges again."""
        self._has_news = True
        while self._has_news and self._merging.acquire(blocking=False):
            try:
                self._has_news = False
                self._merge()
            finally:
                self._merging.release()

    def is_listed(self, index: int, endpoint: Endpoint) -> bool:
        """Return whether the list of a member contains the address of an endpoint."""
        return str(endpoint.address) in self._lists[index]

    def close(self) -> None:
        """End the watches."""
        self.channel.close()
        for watch in self._watches:
            watch.close()

    def _merge(self) -> None:
        for index, watch in enumerate(self._watches):
            self._note(index, watch)
        if self._removed:
            listed = set().union(*self._lists)
            self._removed = {address: at for address, at in self._removed.items() if address in listed}
        union: dict[str, Endpoint] = {}
        # Settled members first, then the others. The sort is stable, so each group keeps the order of the members.
        for index in sorted(
            range(len(self._lists)), key=lambda index: self._away_since[index] != float("inf")
        ):
            horizon = self._away_since[index] - NOTICE_SECONDS
            for address, endpoint in self._lists[index].items():
                if not self._removed or self._removed.get(address, float("-inf")) <= horizon:
                    union.setdefault(address, endpoint)
        errors = [watch.error for watch in self._watches]
        is_settled = all(watch.is_settled for watch in self._watches)
        found = [one for one in self._found if one is not None]
        is_told = found and all(one or error for one, error in zip(self._found, errors, strict=True))
        error = errors[0] if all(errors) else None
        if is_told and not union and self.channel.latest is None:
            # The failed member may be the only one with endpoints.
            error = next(filter(_is_failure, errors), None)
            is_told = error is None
        with self.channel.told_at_once():
            self.channel.judge(error, is_settled=is_settled)
            if union or is_told or self.channel.latest is not None:
                is_cached = all(one.is_cached for one in found)
                self.channel.publish([union[address] for address in sorted(union)], is_cached=is_cached)

    def _note(self, index: int, watch: Watch) -> None:
        """Update the state of a member from its watch."""
        if (found := watch.latest) is not None and found is not self._found[index]:
            listed = found.endpoints if self._view is None else self._view(index, found.endpoints)
            endpoints = {str(endpoint.address): endpoint for endpoint in listed}
            for address in endpoints.keys() - self._lists[index].keys():
                self._removed.pop(address, None)
            self._found[index], self._lists[index] = found, endpoints
        if watch.is_settled:
            self._away_since[index] = float("inf")
            if self._settled[index] is not self._lists[index]:
                removed = self._settled[index].keys() - self._lists[index].keys()
                self._removed |= dict.fromkeys(removed, self._clock())
                self._settled[index] = self._lists[index]
        elif self._away_since[index] == float("inf"):
            self._away_since[index] = self._clock()


def _is_failure(error: Exception | None) -> bool:
    """Return whether an error is temporary: the member may list endpoints later."""
    return error is not None and getattr(error, "status", None) is not Status.UNIMPLEMENTED


def _checked(member: Any, watch: Any) -> Watch:
    """Return the watch of a member, if it reports changes in any thread.

    Raises:
        ConfigError: the watch does not report changes that way.
    """
    if not isinstance(watch, Watch):
        raise ConfigError(
            f"{member!r} cannot be merged with others",
            hint="its watch has to return a fastrpc.registries.Watch",
        )
    return watch
