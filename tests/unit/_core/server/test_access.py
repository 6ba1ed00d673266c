"""The gate's steps authenticate and authorise, driven by a connection without an engine; the digests of tokens."""

import asyncio
import hashlib
import random
from typing import Any

import pytest

from fastrpc import Status
from fastrpc._core.server.access import DigestTable
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.auth.policy import Decision, Rules
from fastrpc.auth.verdict import Answer, Presented, Verdict
from fastrpc.limits import RateLimit
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop


def digest_of(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17, 100, 10_000])
def test_each_digest_is_found_by_its_number_and_no_other_is(count: int) -> None:
    table = DigestTable([digest_of(number) for number in range(count)])
    assert [table.find(digest_of(number)) for number in range(count)] == list(range(count))
    assert {table.find(digest_of(-1 - number)) for number in range(1_000)} == {-1}


def test_digests_that_differ_in_one_bit_are_different() -> None:
    one = digest_of(1)
    table = DigestTable([one])
    for place in range(256):
        other = bytearray(one)
        other[place // 8] ^= 1 << place % 8
        assert table.find(bytes(other)) == -1


def test_digests_at_one_place_are_all_found() -> None:
    numbers = random.Random(1)
    alike = [b"\0" * 8 + numbers.randbytes(24) for _ in range(50)]
    last = [b"\xff" * 8 + numbers.randbytes(24) for _ in range(50)]
    table = DigestTable([*alike, *last])
    assert [table.find(digest) for digest in [*alike, *last]] == list(range(100))
    assert table.find(b"\0" * 32) == table.find(b"\xff" * 32) == -1
    assert table.reach == 50


def test_a_search_looks_at_few_slots() -> None:
    for count in (17, 100, 1_000, 10_000):
        assert DigestTable([digest_of(number) for number in range(count)]).reach <= 12


def test_each_search_among_few_digests_compares_all_of_them() -> None:
    for count in (1, 2, 16):
        assert DigestTable([digest_of(number) for number in range(count)]).reach == count


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"has {size} bytes"):
        DigestTable([bytes(size)])
    with pytest.raises(ValueError, match=f"has {size} bytes"):
        DigestTable([]).find(bytes(size))


ADA = Identity("ada", roles={"buyer"})
TOKENS = StaticTokens({"token-of-ada": ADA})
WITH_TOKEN = {"authorization": "Bearer token-of-ada"}
#: So few calls that no test sees another one become free.
RARE = 0.001


def known_as(gate: Any, identity: Identity | None) -> KeptConnection:
    """Return the connection of a caller."""
    connection = KeptConnection(gate)
    connection.identity = identity
    return connection


def statuses(connection: KeptConnection) -> list[Status]:
    return [status for status, *_ in connection.refusals]


class Slow:
    """Verifies tokens as one does that has to fetch something."""

    version = 0

    def look(self) -> None:
        pass

    def handles(self, peer: Presented) -> bool:
        return True

    async def verify(self, peer: Presented) -> Answer:
        await asyncio.sleep(0)
        return Verdict(ADA)


class TestCallers:
    async def test_a_caller_that_nobody_knows_is_refused_before_anything_is_decoded(self) -> None:
        shop = Shop()
        async with gate_for(shop, authenticate=TOKENS) as gate:
            connection = known_as(gate, None)
            gate.begin(connection, method="shop.price", payload=b"\xc1", codec="msgpack")
            text = "shop.price: the caller is not authenticated"
            assert connection.refusals == [(Status.UNAUTHENTICATED, text, True)]
            known = known_as(gate, ADA)
            known.call("shop.price", "apple")
            assert (known.answers, shop.started) == ([5], 1)

    async def test_an_unknown_method_looks_like_a_forbidden_one(self) -> None:
        async with gate_for(
            Shop, authenticate=TOKENS, authorize=Policy([{"who": ["*"], "allow": ["shop.look"]}])
        ) as gate:
            for identity, status in ((None, Status.UNAUTHENTICATED), (ADA, Status.PERMISSION_DENIED)):
                connection = known_as(gate, identity)
                for method in ("shop.price", "shop.prise", "hidden.price", "fastrpc.health.check"):
                    connection.call(method, "apple")
                assert statuses(connection) == [status] * 4
                reasons = {text.partition(": ")[2] for _, text, _ in connection.refusals}
                assert len(reasons) == 1

    @pytest.mark.parametrize(
        ("authorize", "expected"),
        [
            (None, Status.UNAVAILABLE),
            (Policy([{"who": ["ada"], "allow": ["late.*"]}]), Status.UNAVAILABLE),
            (Policy([{"who": ["ada"], "allow": ["shop.*"]}]), Status.PERMISSION_DENIED),
            (lambda identity, route: True, Status.PERMISSION_DENIED),
        ],
        ids=["nothing", "rules that allow it", "rules that do not", "a function"],
    )
    async def test_callers_with_a_right_to_a_method_that_starts_late_learn_why_it_is_absent(
        self, authorize: Any, expected: Status
    ) -> None:
        async with gate_for(Shop, authenticate=TOKENS, authorize=authorize) as gate:
            gate.dispatcher.why_absent = lambda method: "it is late" if method == "late.price" else None
            for identity, status in ((None, Status.UNAUTHENTICATED), (ADA, expected)):
                connection = known_as(gate, identity)
                connection.call("late.price", "apple")
                assert statuses(connection) == [status]
                connection.call("later.price", "apple")
                assert statuses(connection)[1] is not Status.UNAVAILABLE

    @pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "", "token-of-ada", "Basic token-of-ada"])
    async def test_a_bad_credential_of_a_call_is_refused_despite_a_good_connection(self, header: str) -> None:
        async with gate_for(Shop, authenticate=TOKENS) as gate:
            connection = known_as(gate, ADA)
            connection.call("shop.price", "apple", metadata={"authorization": header})
            assert statuses(connection) == [Status.UNAUTHENTICATED]

    async def test_a_verdict_that_takes_time_lets_the_call_continue(self) -> None:
        async with gate_for(Shop, authenticate=Slow()) as gate:
            connection = known_as(gate, None)
            connection.call("shop.price", "apple", metadata=WITH_TOKEN)
            assert (connection.answers, connection.refusals) == ([], [])
            await connection.wait()
            assert connection.answers == [5]


class TestLimits:
    @pytest.mark.parametrize("authenticate", [TOKENS, Slow()], ids=["at once", "later"])
    async def test_a_call_with_its_own_credential_is_held_to_the_limits(self, authenticate: Any) -> None:
        async with gate_for(Shop, authenticate=authenticate, limits=[RateLimit(RARE, 1)]) as gate:
            connection = known_as(gate, None)
            for _ in range(2):
                connection.call("shop.price", "apple", metadata=WITH_TOKEN)
                if not connection.ends.is_set():
                    await connection.wait()
                connection.ends.clear()
            assert (connection.answers, statuses(connection)) == ([5], [Status.RESOURCE_EXHAUSTED])

    async def test_a_refused_call_counts_on_no_limit(self) -> None:
        policy = Policy([{"who": ["ada"], "allow": ["shop.price"]}])
        async with gate_for(Shop, authenticate=TOKENS, authorize=policy, limits=[RateLimit(RARE, 1)]) as gate:
            for identity in (None, Identity("bob")):
                known_as(gate, identity).call("shop.price", "apple")
            connection = known_as(gate, ADA)
            connection.call("shop.price", "apple")
            assert connection.answers == [5]

    async def test_a_credential_of_a_call_names_whose_calls_count(self) -> None:
        bob = Identity("bob")
        limits = [RateLimit(RARE, 1, per="identity")]
        async with gate_for(Shop, authenticate=TOKENS, limits=limits) as gate:
            connection = known_as(gate, bob)
            connection.call("shop.price", "apple", metadata=WITH_TOKEN)
            connection.call("shop.price", "apple")
            assert connection.answers == [5, 5]
            known_as(gate, ADA).call("shop.price", "apple")
            connection.call("shop.price", "apple", metadata=WITH_TOKEN)
            assert statuses(connection) == [Status.RESOURCE_EXHAUSTED]


def fall(error: type[BaseException]) -> Any:
    raise error


class TestFunctions:
    @pytest.mark.parametrize(
        "authorize",
        [
            lambda identity, route: 1 / 0,
            lambda identity, route: None,
            lambda identity, route: 1,
            lambda identity, route: "yes",
            lambda identity, route: asyncio.sleep(0),
            lambda identity, route: fall(asyncio.CancelledError),
            lambda identity, route: fall(SystemExit),
        ],
    )
    async def test_a_function_that_gives_no_verdict_refuses_every_call(
        self, authorize: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with gate_for(Shop, authenticate=TOKENS, authorize=authorize) as gate:
            connection = known_as(gate, ADA)
            connection.call("shop.price", "apple")
            text = "shop.price: it could not be decided whether the call may start"
            assert connection.refusals == [(Status.INTERNAL, text, False)]
            assert "it could not be decided about shop.price" in caplog.text

    async def test_a_function_with_an_attribute_decide_is_a_function(self) -> None:
        def function(identity: Identity | None, route: Any) -> bool:
            return False

        function.decide = lambda identity, method: Decision(True)  # type: ignore[attr-defined]
        async with gate_for(Shop, authenticate=TOKENS, authorize=function) as gate:
            connection = known_as(gate, ADA)
            connection.call("shop.price", "apple")
            assert statuses(connection) == [Status.PERMISSION_DENIED]

    async def test_a_function_is_asked_for_each_call_and_a_policy_once_for_each_method(self) -> None:
        asked = []

        class Counting(Rules):
            def decide(self, identity: Identity | None, method: str) -> Decision:
                asked.append(method)
                return Decision(True)

        def function(identity: Identity | None, route: Any) -> bool:
            asked.append(route.full_name)
            return True

        for authorize, times in ((Counting(), 1), (function, 3)):
            asked.clear()
            async with gate_for(Shop, authenticate=TOKENS, authorize=authorize) as gate:
                connection = known_as(gate, ADA)
                for _ in range(3):
                    connection.call("shop.price", "apple")
                assert (connection.answers, asked) == ([5, 5, 5], ["shop.price"] * times)
