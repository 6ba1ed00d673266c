"""The guards of a gate: their order, and the calls that pass none of them."""

from fastrpc import Status
from fastrpc.auth import Identity, StaticTokens
from fastrpc.limits import RateLimit
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop

#: One call, then none for hours.
RARE = 1e-4


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
        assert gate.limits is not None
        assert (connection.refusals[0][0], gate.limits.refused_by_rate) == (Status.UNAUTHENTICATED, 0)
        gate.access = None
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
        gate.limit(None)
        connection.call("shop.price", "apple")
        assert connection.answers == [5, 5]
