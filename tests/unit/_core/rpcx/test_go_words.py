"""The words of servers in Go, which programs compare."""

from tests.support.rpcx_arith import Arith
from tests.support.rpcx_link import served_rpcx
from tests.support.rpcx_wire import call


async def test_an_unknown_method_is_told_as_by_a_server_in_go() -> None:
    async with served_rpcx(Arith()) as talk:
        answer = await talk.ask(call("Arith", "nothing", {"A": 6, "B": 7}))
        assert answer.error == "rpcx: can't find method nothing"


async def test_an_unknown_codec_is_told_by_its_number() -> None:
    async with served_rpcx(Arith()) as talk:
        answer = await talk.ask(call("Arith", "Mul", b"", serialize=9))
        assert answer.error == "can not find codec for 9"
