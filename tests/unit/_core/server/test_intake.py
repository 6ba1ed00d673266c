"""The limits of requests that a wire asks for: the number of calls, memory, the sender of a long request."""

from fastrpc import Limits
from fastrpc._core.server.intake import Intake
from tests.support.lines import lines, said
from tests.support.shop import Shop
from tests.support.waiting import eventually

PACK = b'shop.pack "apple"\n'


async def test_the_number_of_calls_has_a_limit() -> None:
    shop = Shop()
    async with lines(shop=shop, limits=Limits(concurrent_calls=2)) as connection:
        await connection.give(PACK * 3)
        await eventually(lambda: said(connection))
        text = "3 RESOURCE_EXHAUSTED this connection has 2 calls in progress, the limit is 2"
        assert said(connection) == [f"{text} (Limits.concurrent_calls)"]
        shop.go_on.set()
        await eventually(lambda: len(said(connection)) == 3)


def test_it_has_no_face() -> None:
    assert not [name for name in vars(Intake) if not name.startswith("_")]
