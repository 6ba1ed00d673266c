"""The guards of a gate: rights, and limits."""

from typing import Any

import pytest

import fastrpc
from fastrpc import Address, Peer, Status
from fastrpc.auth import Identity, StaticTokens
from fastrpc.limits import ConcurrencyLimit, RateLimit
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually

#: So few calls that no test sees another one become free.
RARE = 0.001


TOKENS = StaticTokens({"token-of-ada": Identity("ada")})


@fastrpc.service("desk")
class Desk:
    @fastrpc.method(public=True)
    async def hello(self, name: str) -> str:
        return name


def from_address(gate: Any, address: str) -> KeptConnection:
    """Return the connection of a peer at an address."""
    connection = KeptConnection(gate)
    connection.peer_info = Peer(Address.parse(address))
    return connection


def passed(connection: KeptConnection, method: str = "shop.price", **options: Any) -> bool:
    """Return whether a call is accepted."""
    before = len(connection.refusals)
    connection.call(method, "apple", **options)
    return len(connection.refusals) == before


class TestRefusals:
    async def test_a_call_over_the_rate_is_refused_before_it_is_decoded(self) -> None:
        shop = Shop()
        async with gate_for(shop, limits=[RateLimit(0.5, 2)]) as gate:
            connection = KeptConnection(gate)
            for _ in range(2):
                assert passed(connection)
            gate.begin(connection, method="shop.price", payload=b"\xc1", codec="msgpack")
            text = "shop.price: over the rate of 0.5 calls/s with a burst of 2 (RateLimit)"
            assert connection.refusals == [(Status.RESOURCE_EXHAUSTED, text, False)]
            assert 1_900 <= connection.pauses[0] <= 2_000
            # A stall puts off a call that was let in.
            await eventually(lambda: shop.started == 2)
            limits = gate.guards.limits
            assert limits is not None
            assert (gate.refusals.count, limits.refused_by_rate, limits.refused_by_concurrency) == (1, 1, 0)

    async def test_limits_can_be_lifted(self) -> None:
        async with gate_for(Shop, limits=[RateLimit(RARE, 1)]) as gate:
            connection = KeptConnection(gate)
            assert [passed(connection) for _ in range(2)] == [True, False]
            gate.guards.limit(None)
            assert passed(connection)

    async def test_a_call_beyond_the_limit_of_calls_is_refused_until_one_ends(self) -> None:
        shop = Shop()
        async with gate_for(shop, limits=[ConcurrencyLimit(2)]) as gate:
            connection = KeptConnection(gate)
            assert [passed(connection, "shop.pack") for _ in range(3)] == [True, True, False]
            text = "shop.pack: 2 calls are in progress, the limit (ConcurrencyLimit)"
            assert connection.refusals == [(Status.RESOURCE_EXHAUSTED, text, False)]
            assert connection.pauses == [100]
            shop.go_on.set()
            await eventually(lambda: len(connection.answers) == 2)
            assert passed(connection, "shop.pack")
            assert gate.guards.limits is not None
            assert gate.guards.limits.refused_by_concurrency == 1

    async def test_other_refusals_ask_for_no_pause(self) -> None:
        async with gate_for(Shop, limits=[RateLimit(RARE, 1)]) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.nothing")
            connection.call("shop.price", 7)
            assert connection.pauses == [0, 0]

    async def test_a_one_way_call_counts_and_is_dropped(self) -> None:
        shop = Shop()
        async with gate_for(shop, limits=[RateLimit(RARE, 1)]) as gate:
            connection = KeptConnection(gate)
            for _ in range(3):
                connection.call("shop.price", "apple", one_way=True)
            assert (shop.started, gate.refusals.count, len(connection.released)) == (1, 2, 3)

    async def test_the_gates_of_two_servers_count_separately(self) -> None:
        limits = [RateLimit(RARE, 1)]
        async with gate_for(Shop, limits=limits) as first, gate_for(Shop, limits=limits) as second:
            assert passed(KeptConnection(first))
            assert passed(KeptConnection(second))
            assert not passed(KeptConnection(first))


class TestPlaces:
    """Every way in which a call may end frees its place."""

    async def end(self, gate: Any, connection: KeptConnection) -> None:
        await eventually(lambda: gate.running == 0 and gate.admission.waiting == 0)
        assert passed(KeptConnection(gate))

    async def test_an_answer_in_the_first_step(self) -> None:
        async with gate_for(Shop, limits=[ConcurrencyLimit(1)]) as gate:
            connection = KeptConnection(gate)
            for method in ["shop.price", "shop.count"] * 10:
                assert passed(connection, method)
                # A busy machine looks like a stall of the loop, after which calls wait for their turn.
                await eventually(lambda: gate.running == 0 and gate.admission.waiting == 0)

    async def test_a_handler_in_a_thread(self) -> None:
        shop = Shop()
        async with gate_for(shop, limits=[ConcurrencyLimit(1)]) as gate:
            connection = KeptConnection(gate)
            assert passed(connection, "shop.weigh")
            assert not passed(connection)
            shop.thread_goes_on.set()
            await self.end(gate, connection)

    @pytest.mark.parametrize("method", ["shop.fail", "shop.crash", "shop.nothing", "shop.price"])
    async def test_a_failure(self, method: str) -> None:
        async with gate_for(Shop, limits=[ConcurrencyLimit(1)]) as gate:
            connection = KeptConnection(gate)
            for _ in range(5):
                connection.call(method, 7)
                # As above: calls that wait hold their places.
                await eventually(lambda: gate.running == 0 and gate.admission.waiting == 0)
            assert not any("in progress" in text for _, text, _ in connection.refusals)
            await self.end(gate, connection)

    async def test_a_cancelled_call(self) -> None:
        async with gate_for(Shop, limits=[ConcurrencyLimit(1)]) as gate:
            connection = KeptConnection(gate)
            gate.cancel_call(connection.call("shop.pack", "apple"))
            await self.end(gate, connection)

    async def test_a_call_whose_deadline_passed(self) -> None:
        async with gate_for(Shop, limits=[ConcurrencyLimit(1)]) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.price", "apple", timeout=0)
            connection.call("shop.pack", "apple", timeout=0.01)
            await self.end(gate, connection)

    async def test_a_lost_connection(self) -> None:
        async with gate_for(Shop, limits=[ConcurrencyLimit(1)]) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.pack", "apple")
            gate.connection_lost(connection)
            await self.end(gate, connection)

    @pytest.mark.parametrize("end", ["lost", "cancelled", "ended"])
    async def test_a_call_that_waited_for_its_start(self, end: str) -> None:
        async with gate_for(Shop, limits=[ConcurrencyLimit(1)]) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, 64 << 20)
            call = connection.call("shop.price", "apple")
            assert gate.admission.waiting == 1
            assert not passed(KeptConnection(gate))
            if end == "lost":
                gate.connection_lost(connection)
            elif end == "cancelled":
                gate.cancel_call(call)
            else:
                gate.end_calls(connection, "over")
            await self.end(gate, connection)

    async def test_a_refusal_by_a_later_limit(self) -> None:
        async with gate_for(
            Shop, limits=[ConcurrencyLimit(1), RateLimit(RARE, 1, methods="shop.pack")]
        ) as gate:
            connection = KeptConnection(gate)
            gate.cancel_call(connection.call("shop.pack", "apple"))
            await eventually(lambda: gate.running == 0)
            assert not passed(connection, "shop.pack")
            await self.end(gate, connection)

    async def test_an_interceptor_that_refuses(self) -> None:
        async def refuse(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
            raise fastrpc.CallError(Status.PERMISSION_DENIED, "no")

        async with gate_for(Shop, limits=[ConcurrencyLimit(1)], interceptors=[refuse]) as gate:
            connection = KeptConnection(gate)
            for _ in range(3):
                connection.call("shop.price", "apple")
                await eventually(lambda: gate.running == 0 and gate.admission.waiting == 0)
            assert len(connection.failures) == 3


class TestKeys:
    async def test_per_method_and_per_service(self) -> None:
        async with gate_for(Shop, limits=[RateLimit(RARE, 1, per="method")]) as gate:
            connection = KeptConnection(gate)
            assert [passed(connection, name) for name in ("shop.price", "shop.count", "shop.price")] == [
                True,
                True,
                False,
            ]
        async with gate_for(Shop, limits=[RateLimit(RARE, 1, per="service")]) as gate:
            connection = KeptConnection(gate)
            assert [passed(connection, name) for name in ("shop.price", "shop.count")] == [True, False]

    @pytest.mark.parametrize(
        ("first", "second", "together"),
        [
            ("tcp://10.0.0.7:1000", "tcp://10.0.0.7:2000", True),
            ("tcp://10.0.0.7:1000", "tcp://10.0.0.8:1000", False),
            ("tcp://[2001:db8::1]:1000", "tcp://[2001:db8::ffff:2]:1000", True),
            ("tcp://[2001:db8::1]:1000", "tcp://[2001:db8:0:1::1]:1000", False),
            ("tcp://[::ffff:10.0.0.7]:1000", "tcp://10.0.0.7:1000", True),
            ("tcp://[::ffff:10.0.0.7]:1000", "tcp://[::ffff:10.0.0.8]:1000", False),
            ("tcp://[fe80::1%eth0]:1000", "tcp://[fe80::2%eth1]:1000", True),
            ("memory://a", "memory://b", True),
        ],
    )
    async def test_per_peer(self, first: str, second: str, together: bool) -> None:
        async with gate_for(Shop, limits=[RateLimit(RARE, 1, per="peer")]) as gate:
            assert passed(from_address(gate, first))
            assert passed(from_address(gate, second)) is not together
            assert not passed(from_address(gate, first))

    @pytest.mark.parametrize("per", ["identity", "metadata:tenant"])
    async def test_per_identity_and_metadata(self, per: str) -> None:
        async with gate_for(Shop, authenticate=TOKENS, limits=[RateLimit(RARE, 1, per=per)]) as gate:
            seen = []
            for name in ("ada", "bob", "ada"):
                connection = KeptConnection(gate)
                connection.identity = Identity(name)
                seen.append(passed(connection, metadata={"tenant": name}))
            assert seen == [True, True, False]

    async def test_callers_of_one_tenant_share_its_count(self) -> None:
        limits = [RateLimit(RARE, 1, per="metadata:tenant")]
        async with gate_for(Shop, authenticate=TOKENS, limits=limits) as gate:
            seen = []
            for name in ("ada", "bob"):
                connection = KeptConnection(gate)
                connection.identity = Identity(name)
                seen.append(passed(connection, metadata={"tenant": "acme"}))
            assert seen == [True, False]

    @pytest.mark.parametrize("per", ["identity", "metadata:tenant"])
    async def test_callers_without_an_identity_share_one_count(self, per: str) -> None:
        """Otherwise each of their calls could name another entry, or the entry of a known caller."""
        async with gate_for(Desk, authenticate=TOKENS, limits=[RateLimit(RARE, 1, per=per)]) as gate:
            seen = [
                passed(KeptConnection(gate), "desk.hello", metadata={"tenant": name})
                for name in ("ada", "bob", "anonymous")
            ]
            assert seen == [True, False, False]
            connection = KeptConnection(gate)
            connection.identity = Identity("ada")
            assert passed(connection, "desk.hello", metadata={"tenant": "anonymous"})

    async def test_one_greedy_peer_takes_nothing_from_the_others(self) -> None:
        async with gate_for(Shop, limits=[RateLimit(RARE, 3, per="peer")]) as gate:
            greedy = from_address(gate, "tcp://10.0.0.1:1000")
            assert sum(passed(greedy) for _ in range(1_000)) == 3
            for number in range(2, 100):
                assert passed(from_address(gate, f"tcp://10.0.0.{number}:1000"))


class TestMethods:
    async def test_only_calls_of_its_methods_count(self) -> None:
        async with gate_for(Shop, limits=[RateLimit(RARE, 1, methods=["shop.price", "shop.look"])]) as gate:
            connection = KeptConnection(gate)
            assert all(passed(connection, "shop.count") for _ in range(5))
            assert [passed(connection) for _ in range(2)] == [True, False]

    async def test_built_in_services_count_only_where_they_are_named(self) -> None:
        async with gate_for(Shop, limits=[RateLimit(RARE, 1)]) as gate:
            connection = KeptConnection(gate)
            assert all(passed_health(connection) for _ in range(3))
        async with gate_for(Shop, limits=[RateLimit(RARE, 1, methods="fastrpc.health.*")]) as gate:
            connection = KeptConnection(gate)
            assert [passed_health(connection) for _ in range(2)] == [True, False]

    async def test_a_call_refused_by_one_limit_counts_on_no_other(self) -> None:
        limits = [RateLimit(RARE, 10), RateLimit(RARE, 1, methods="shop.price")]
        async with gate_for(Shop, limits=limits) as gate:
            connection = KeptConnection(gate)
            assert sum(passed(connection) for _ in range(100)) == 1
            assert sum(passed(connection, "shop.count") for _ in range(100)) == 9

    async def test_a_method_of_a_source_added_later_is_limited(self) -> None:
        @fastrpc.service("late")
        class Late:
            @fastrpc.method
            async def price(self, item: str) -> int:
                return 1

        async with fastrpc.Server(Shop, limits=[RateLimit(RARE, 1, per="method")]) as server:
            server.add(Late())
            assert server._gate is not None
            connection = KeptConnection(server._gate)
            assert [passed(connection, "late.price") for _ in range(2)] == [True, False]


def passed_health(connection: KeptConnection) -> bool:
    before = len(connection.refusals)
    connection.call("fastrpc.health.check", "")
    return len(connection.refusals) == before


async def test_a_caller_without_identity_is_refused_before_the_method_is_looked_up() -> None:
    shop = Shop()
    async with gate_for(shop, authenticate=StaticTokens({"secret": Identity("ada")})) as gate:
        connection = KeptConnection(gate)
        connection.call("shop.price", "apple")
        connection.call("shop.prise", "apple")
        known, unknown = connection.refusals
        assert known[0] == unknown[0] == Status.UNAUTHENTICATED
        assert known[1].replace("shop.price", "shop.prise") == unknown[1]
        assert shop.started == 0


async def test_a_refused_caller_takes_nothing_of_a_limit() -> None:
    """Identity comes before limits: else strangers would use up the rate of all callers."""
    tokens = StaticTokens({"secret": Identity("ada")})
    async with gate_for(Shop, authenticate=tokens, limits=[RateLimit(RARE, 1)]) as gate:
        connection = KeptConnection(gate)
        connection.call("shop.price", "apple")
        assert gate.guards.limits is not None
        assert (connection.refusals[0][0], gate.guards.limits.refused_by_rate) == (Status.UNAUTHENTICATED, 0)
        gate.guards.require(None)
        connection.call("shop.price", "apple")
        assert connection.answers == [5]
        connection.call("shop.price", "apple")
        assert connection.refusals[1][0] == Status.RESOURCE_EXHAUSTED


async def test_lifted_guards_let_every_call_pass() -> None:
    async with gate_for(Shop, limits=[RateLimit(RARE, 1)]) as gate:
        connection = KeptConnection(gate)
        for _ in range(2):
            connection.call("shop.price", "apple")
        assert (connection.answers, len(connection.refusals)) == ([5], 1)
        gate.guards.limit(None)
        connection.call("shop.price", "apple")
        assert connection.answers == [5, 5]
