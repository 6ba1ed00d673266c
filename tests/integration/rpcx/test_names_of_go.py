"""Names of Go for services with `rpcx="go"`: services, methods and parameters."""

import msgspec
import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Server, ServerConfig
from fastrpc.rpc.aliases import go_name
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_wire import call

pytestmark = pytest.mark.one_loop


class Order(msgspec.Struct, rename=go_name):
    user_id: int
    item: str = "fig"


@fastrpc.service("shop.v1", rpcx="go")
class Shop:
    @fastrpc.method
    async def get_user_id(self, user_name: str, is_new: bool = False) -> str:
        return f"{user_name} {is_new}"

    @fastrpc.method
    async def take(self, order: Order) -> Order:
        return order


async def test_callers_in_go_have_names_of_their_own() -> None:
    async with Server(Shop(), config=ServerConfig(protocols=("rpcx",))) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            for given in ({"UserName": "ada", "IsNew": True}, {"user_name": "ada", "is_new": True}):
                assert (await talk.ask(call("ShopV1", "GetUserID", given))).value() == "ada True"
            answer = await talk.ask(call("ShopV1", "Take", {"UserID": 7, "Item": "kiwi"}))
            assert answer.value() == {"UserID": 7, "Item": "kiwi"}
            assert (await talk.ask(call("shop.v1", "get_user_id", "ada"))).error is not None


async def test_a_client_calls_by_the_names_of_go() -> None:
    @fastrpc.service("ShopV1")
    class InGo:
        @fastrpc.method
        async def GetUserID(self, user_name: str, is_new: bool) -> str:
            return f"{user_name} {is_new} in Go"

    async with Server(InGo(), config=ServerConfig(protocols=("rpcx",))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address, config=ClientConfig(wire_protocol="rpcx")) as client:
            assert await client.call(Shop.get_user_id, "ada", True) == "ada True in Go"
