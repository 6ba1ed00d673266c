"""The services of the recorded connections of Phobos, in Python."""

from typing import Any

import fastrpc
from fastrpc import current_call
from fastrpc.errors import CallError
from fastrpc.status import Status
from tests.support.rpcx_arith import Args, Reply
from tests.support.rpcx_arith import Arith as ArithOfRpcx

__all__ = ["WITH_TOKEN", "Arith", "Functions"]


class Arith(ArithOfRpcx):
    """The methods of Phobos in addition to the methods of rpcx's recordings."""

    @fastrpc.method
    async def PanicIndex(self, args: Args) -> Reply:
        raise RuntimeError("a panic")

    @fastrpc.method
    async def ByValue(self, args: Args) -> Reply:
        raise CallError(Status.INTERNAL, "it is called by value")

    @fastrpc.method
    async def PushAtOnce(self, count: int) -> int:
        client: Any = current_call().peer.client  # type: ignore[union-attr]
        for number in range(count):
            view = client.with_options(codec="raw", metadata={"n": str(number)})
            await view.notify("news.burst", bytes((number,)))
        return count


@fastrpc.service("")
class Functions:
    """Bare functions."""

    @fastrpc.method
    async def add(self, args: Args) -> Reply:
        return Reply(args.A + args.B)

    @fastrpc.method
    async def fail(self, args: Args) -> Reply:
        raise CallError(Status.UNKNOWN, "function failed")


#: Recorded connections whose server asks for the token `secret`.
WITH_TOKEN = frozenset(
    {"auth_good", "auth_bad", "auth_missing", "auth_bad_oneway", "heartbeat_auth", "heartbeat_auth_breaker"}
)
