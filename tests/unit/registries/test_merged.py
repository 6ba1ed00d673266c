"""Several registries as one: the union of their lists, registrations in all, outages of one."""

import asyncio
import contextlib
import gc
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries import Merged, StaticRegistry, Watch, open_registry
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.watch import Channel
from fastrpc.registries.merged import NOTICE_SECONDS, MergedRegistration, MergedUnion
from tests.support.fake_registry import (
    FakeBackend,
    FakeChangingLease,
    FakeLease,
    FakeRetiringLease,
    away,
    refused,
)

ONE, TWO, THREE = (Endpoint(f"tcp://10.0.0.1:{port}") for port in (1, 2, 3))


HEAVY = Endpoint(ONE.address, weight=5)


class OlderRegistry(StaticRegistry):
    """One whose registrations have no `change`, as a user's may be."""

    def register(self, service: str, endpoint: Endpoint) -> Any:
        @contextlib.asynccontextmanager
        async def registered() -> AsyncIterator[None]:
            async with super(OlderRegistry, self).register(service, endpoint):
                yield

        return registered()


def listed(registry: StaticRegistry) -> list[Endpoint]:
    with registry.watch("arith") as watch:
        assert watch.latest is not None
        return list(watch.latest.endpoints)


def refuse() -> bool:
    raise refused()


def is_held(registration: MergedRegistration) -> bool:
    return registration.is_registered


class Members:
    """Two channels that the test fills, and their union, under a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.first, self.second = Channel(itertools.count(1)), Channel(itertools.count(1))
        watches = [Watch(one, lambda: None) for one in (self.first, self.second)]
        self.union = MergedUnion(watches, Channel(itertools.count(1)), lambda: self.now)

    def lose(self, channel: Channel) -> None:
        channel.judge(away(), is_settled=False)

    def find(self, channel: Channel) -> None:
        channel.judge(None, is_settled=True)

    @property
    def shown(self) -> list[Endpoint] | None:
        latest = self.union.channel.latest
        return None if latest is None else list(latest.endpoints)


def both() -> Members:
    """Return two members with the same list."""
    members = Members()
    members.first.publish([ONE, TWO])
    members.second.publish([ONE, TWO])
    return members


def test_watch_has_the_union_in_the_order_of_addresses() -> None:
    registry = Merged([StaticRegistry([THREE, ONE]), StaticRegistry([TWO])])
    latest = registry.watch("arith").latest
    assert latest is not None
    assert latest.endpoints == (ONE, TWO, THREE)


def test_record_of_the_first_member_counts() -> None:
    heavy = Endpoint(ONE.address, weight=5)
    latest = Merged([StaticRegistry([heavy]), StaticRegistry([ONE, TWO])]).watch("arith").latest
    assert latest is not None
    assert latest.endpoints == (heavy, TWO)
    assert latest.endpoints[0].weight == 5


def test_changes_of_every_member_are_seen() -> None:
    members = StaticRegistry([ONE]), StaticRegistry([TWO])
    with Merged(members).watch("arith") as watch:
        watch.wait(0)
        members[1].update("arith", [THREE])
        found = watch.wait(0)
        assert found is not None
        assert found.endpoints == (ONE, THREE)
        members[0].update("arith", [])
        found = watch.wait(0)
        assert found is not None
        assert found.endpoints == (THREE,)


def test_list_of_a_member_that_is_away_stays() -> None:
    members = both()
    members.second.publish([])
    members.now += NOTICE_SECONDS
    members.lose(members.first)
    assert members.shown == [ONE, TWO]
    assert members.union.channel.error is None


def test_endpoints_that_the_other_members_remove_leave_the_list_of_a_member_that_is_away() -> None:
    members = both()
    members.now += NOTICE_SECONDS
    members.lose(members.first)
    members.second.publish([TWO])
    assert members.shown == [TWO]


def test_endpoints_that_the_other_members_never_listed_stay_in_the_list_of_a_member_that_is_away() -> None:
    members = both()
    members.first.publish([ONE, TWO, THREE])
    members.lose(members.first)
    members.second.publish([ONE])
    assert members.shown == [ONE, THREE]


def test_removal_shortly_before_an_outage_is_noticed_counts() -> None:
    members = both()
    members.second.publish([ONE])
    assert members.shown == [ONE, TWO]
    members.now += NOTICE_SECONDS - 1
    members.lose(members.first)
    assert members.shown == [ONE]


def test_servers_that_left_one_registry_long_ago_stay_while_the_other_is_away() -> None:
    members = both()
    members.first.publish([])
    members.now += NOTICE_SECONDS
    members.lose(members.second)
    assert members.shown == [ONE, TWO]


def test_member_that_is_back_keeps_removed_endpoints_out_until_it_is_settled() -> None:
    members = both()
    members.lose(members.first)
    members.second.publish([TWO])
    members.first.judge(None, is_settled=False)
    assert members.shown == [TWO]
    # It lists the endpoint all the same: the server registers there only.
    members.find(members.first)
    assert members.shown == [ONE, TWO]


def test_endpoint_that_is_listed_anew_is_used_at_once() -> None:
    members = both()
    members.lose(members.first)
    members.second.publish([TWO])
    members.second.publish([ONE, TWO])
    members.lose(members.second)
    assert members.shown == [ONE, TWO]


def test_loss_that_a_member_believes_after_a_doubt_counts_as_a_removal() -> None:
    members = both()
    members.lose(members.first)
    members.second.judge(None, is_settled=False)
    members.second.publish([])
    assert members.shown == [ONE, TWO]
    members.find(members.second)
    assert members.shown == []


def test_record_of_a_member_that_answers_replaces_the_record_of_an_absent_member() -> None:
    members = both()
    new = Endpoint(ONE.address, version="2")
    members.second.publish([new, TWO])
    assert members.shown == [ONE, TWO]
    members.lose(members.first)
    assert members.shown == [new, TWO]


def test_empty_list_is_reported_once_every_member_has_answered() -> None:
    members = Members()
    members.first.publish([])
    assert members.shown is None
    members.second.publish([])
    assert members.shown == []


def test_a_member_that_failed_is_the_error_of_an_empty_list() -> None:
    members = Members()
    members.first.publish([])
    members.lose(members.second)
    assert (members.shown, str(members.union.channel.error)) == (None, "connection refused")
    members.second.publish([])
    members.find(members.second)
    assert (members.shown, str(members.union.channel.error)) == ([], "None")
    members.lose(members.second)
    assert (members.shown, str(members.union.channel.error)) == ([], "None")


def test_error_is_reported_once_every_member_has_failed() -> None:
    members = Members()
    members.lose(members.first)
    assert members.union.channel.error is None
    members.lose(members.second)
    assert str(members.union.channel.error) == "connection refused"
    members.second.publish([ONE])
    members.find(members.second)
    assert members.union.channel.error is None
    assert members.shown == [ONE]


def test_list_is_a_cached_one_while_no_member_has_answered() -> None:
    members = Members()
    members.first.publish([ONE], is_cached=True)
    assert members.union.channel.latest is not None
    assert members.union.channel.latest.is_cached
    members.second.publish([TWO])
    assert not members.union.channel.latest.is_cached


def test_a_dropped_watch_ends_the_watches_of_the_members() -> None:
    static = StaticRegistry([ONE])
    watch: Watch | None = Merged([static]).watch("arith")
    assert watch is not None
    channel = static._channels["arith"]
    assert channel._listeners
    watch = None
    gc.collect()
    assert not channel._listeners


async def test_closing_ends_watches_and_the_members_that_were_opened() -> None:
    given = StaticRegistry([ONE])
    registry = Merged([given, "static://10.0.0.1:2"])
    watch = registry.watch("arith")
    assert (await anext(watch)).endpoints == (ONE, TWO)
    await registry.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    with pytest.raises(RuntimeError, match="is closed"):
        registry.watch("arith")
    assert given.watch("arith").latest is not None


async def test_server_registers_in_all_members_that_can_register() -> None:
    members = StaticRegistry(), BackedRegistry(FakeBackend(), "fake://a"), StaticRegistry()
    registry = Merged(members)
    async with registry.register("arith", ONE) as registration:
        assert is_held(registration)
        assert [members[index].services() for index in (0, 2)] == [["arith"], ["arith"]]
    assert not is_held(registration)
    assert [members[index].services() for index in (0, 2)] == [[], []]


def test_endpoint_that_no_member_can_hold_is_refused() -> None:
    registry = Merged([BackedRegistry(FakeBackend(), "fake://a")])
    with pytest.raises(ConfigError, match="servers do not register here"):
        registry.register("arith", ONE)


@pytest.mark.parametrize("is_first", [True, False])
def test_member_that_cannot_hold_the_endpoint_is_not_left_out(is_first: bool) -> None:
    too_long = BackedRegistry(FakeBackend(ConfigError("the record is too long")), "fake://a")
    members = [too_long, BackedRegistry(FakeBackend(), "fake://b"), StaticRegistry()]
    registry = Merged(members if is_first else members[::-1])
    with pytest.raises(ConfigError, match="the record is too long"):
        registry.register("arith", ONE)


@pytest.mark.parametrize("url", ["dns://127.0.0.1:1", "kubernetes://shop?server=http://127.0.0.1:1"])
async def test_registry_in_which_no_server_registers_is_left_out(url: str) -> None:
    static = StaticRegistry()
    with open_registry(url) as member:  # type: ignore[attr-defined]
        async with Merged([member, static]).register("arith", ONE) as registration:
            assert is_held(registration)
            assert static.services() == ["arith"]


async def test_refusal_of_one_member_removes_the_record_from_the_others() -> None:
    static, lease = StaticRegistry(), FakeLease()
    lease.trouble = refused()
    with BackedRegistry(FakeBackend(lease), "fake://a") as member:
        registry = Merged([static, member])
        with pytest.raises(StoreError, match="no such permission"):
            async with registry.register("arith", ONE):
                pass
        assert static.services() == []


async def test_one_member_that_is_away_does_not_delay_a_registration() -> None:
    static, lease = StaticRegistry(), FakeLease()
    lease.trouble = away()
    with BackedRegistry(FakeBackend(lease), "fake://a") as member:
        async with Merged([member, static]).register("arith", ONE) as registration:
            assert is_held(registration)


async def test_registrations_count_once_one_member_holds_all_of_them() -> None:
    leases = FakeLease(), FakeLease()
    backends = [FakeBackend(lease) for lease in leases]
    members = [
        BackedRegistry(backend, f"fake://{place}") for place, backend in zip("ab", backends, strict=True)
    ]
    registry = Merged(members)
    leases[0].trouble = away()
    async with registry.register("arith", ONE) as first:
        assert is_held(first)
        # The second member has only the first record, and the first member has none.
        leases[1].trouble = away()
        async with registry.register("users", ONE) as second:
            assert not is_held(first)
            assert not is_held(second)
        assert is_held(first)
    for member in members:
        await member.aclose()


async def test_a_change_reaches_every_member_that_holds_the_record() -> None:
    static, foreign, lease = StaticRegistry(), OlderRegistry(), FakeChangingLease(ONE)
    with BackedRegistry(FakeBackend(lease), "fake://a") as member:
        async with Merged([static, member, foreign, "dns://"]).register("arith", ONE) as registration:
            lease.record = HEAVY.weight
            await registration.change(HEAVY)
            assert registration.endpoint == HEAVY
            assert listed(static) == listed(foreign) == [HEAVY]
            assert lease.actions == ["acquire", "rewrite"]
        assert listed(static) == listed(foreign) == []
        assert lease.actions[-1] == "release"


async def test_a_member_that_refuses_a_change_keeps_its_record_and_no_other_one_does() -> None:
    static, lease = StaticRegistry(), FakeChangingLease(ONE)
    with BackedRegistry(FakeBackend(lease), "fake://a") as member:
        async with Merged([member, static]).register("arith", ONE) as registration:
            lease.rewrite = refuse  # type: ignore[method-assign]
            with pytest.raises(StoreError, match="no such permission"):
                await registration.change(HEAVY)
            assert (registration.endpoint, listed(static)) == (ONE, [HEAVY])
            assert is_held(registration)


async def test_retiring_marks_records_and_withdraws_those_without_a_mark() -> None:
    static, lease = StaticRegistry(), FakeRetiringLease()
    with BackedRegistry(FakeBackend(lease), "fake://a") as member:
        async with Merged([static, member]).register("arith", ONE) as registration:
            assert await registration.retire()
            assert static.services() == []
            assert lease.actions == ["acquire", "retire"]
        assert lease.actions[-1] == "release"


def test_services_of_all_members_count_and_the_last_known_ones_of_a_member_that_is_away() -> None:
    backend = FakeBackend()
    registry = Merged([StaticRegistry({"users": [ONE]}), BackedRegistry(backend, "fake://a"), "dns://"])
    assert registry.services() == ["arith", "users"]
    backend.names = away()
    assert registry.services() == ["arith", "users"]


def test_services_of_members_that_never_answered_are_an_error() -> None:
    backend = FakeBackend()
    backend.names = away()
    registry = Merged([BackedRegistry(backend, "fake://a")])
    with pytest.raises(StoreError, match="connection refused"):
        registry.services()


def test_record_is_removed_from_all_members_that_delete_records() -> None:
    members = StaticRegistry({"arith": [ONE, TWO]}), StaticRegistry({"arith": [ONE]})
    registry = Merged([*members, BackedRegistry(FakeBackend(), "fake://a")])
    assert registry.remove("arith", ONE.address)
    assert not registry.remove("arith", ONE.address)
    assert [one.services() for one in members] == [["arith"], []]
    with pytest.raises(ConfigError, match="deletes no records"):
        Merged([BackedRegistry(FakeBackend(), "fake://a")]).remove("arith", ONE.address)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "a list of at least one"),
        ("consul://127.0.0.1", "a list of at least one"),
        (["static://h:1", "static://h:1"], "given twice"),
        (["static://h:1", 5], "is not a registry"),
        (["static://h:1", "nothing://h:1"], "no registry has the scheme"),
    ],
)
def test_lists_that_are_wrong_are_refused(given: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Merged(given)


def test_name_that_no_service_may_have_is_refused() -> None:
    Merged([StaticRegistry(), "static://h:1"]).check_service("arith")
    with pytest.raises(ConfigError, match="is not a service name"):
        Merged([StaticRegistry(), "static://h:1"]).check_service("a b")


def test_foreign_registry_without_our_watch_is_refused() -> None:
    class Foreign:
        def watch(self, service: str) -> Any:
            return iter(())

    with pytest.raises(ConfigError, match="cannot be merged"):
        Merged([StaticRegistry(), Foreign()]).watch("arith")  # type: ignore[list-item]


def test_list_of_registries_opens_as_one() -> None:
    registry = open_registry(["static://10.0.0.1:1", "static://10.0.0.1:2"])
    assert isinstance(registry, Merged)
    assert repr(registry) == "<registries <static registry of any service>, <static registry of any service>>"


async def test_watches_on_loops_are_woken_by_members_in_other_threads() -> None:
    members = StaticRegistry([ONE]), StaticRegistry([TWO])
    async with Merged(members).watch("arith") as watch:
        await anext(watch)
        later = asyncio.ensure_future(anext(watch))
        await asyncio.to_thread(members[1].update, "arith", [THREE])
        assert (await later).endpoints == (ONE, THREE)
