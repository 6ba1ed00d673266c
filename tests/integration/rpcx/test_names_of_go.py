"""Names of Go for services with `rpcx="go"`: services, methods and parameters."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Server, ServerConfig
from fastrpc.rpc.aliases import go_name
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_wire import JSON, MSGPACK, call

pytestmark = pytest.mark.one_loop


class Order(msgspec.Struct, rename=go_name):
    user_id: int
    item: str = "fig"


@dataclass
class Line:
    item_id: int
    note_text: str = ""


@dataclass
class Basket:
    user_id: int
    lines: list[Line]
    by_name: dict[str, Line] = field(default_factory=dict)
    best_line: Line | None = None


@fastrpc.service("shop.v1", rpcx="go")
class Shop:
    @fastrpc.method
    async def get_user_id(self, user_name: str, is_new: bool = False) -> str:
        return f"{user_name} {is_new}"

    @fastrpc.method
    async def take(self, order: Order) -> Order:
        return order

    @fastrpc.method
    async def fill(self, basket: Basket) -> Basket:
        return basket


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
        async def GetUserID(self, given: dict[str, Any]) -> str:
            return f"{given} in Go"

    async with Server(InGo(), config=ServerConfig(protocols=("rpcx",))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address, config=ClientConfig(wire_protocol="rpcx")) as client:
            told = await client.call(Shop.get_user_id, "ada", True)
            assert told == "{'UserName': 'ada', 'IsNew': True} in Go"


IN_GO = {
    "UserID": 7,
    "Lines": [{"ItemID": 1, "NoteText": "a_b"}],
    "ByName": {"an_item": {"ItemID": 2, "NoteText": ""}},
    "BestLine": {"ItemID": 3, "NoteText": ""},
}


@pytest.mark.parametrize("serialize", [MSGPACK, JSON])
async def test_fields_have_names_of_go_at_every_depth(serialize: int) -> None:
    async with Server(Shop(), config=ServerConfig(protocols=("rpcx",))) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            ours = {"user_id": 7, "lines": [{"item_id": 1, "note_text": "a_b"}], "best_line": None}
            for given, expected in ((IN_GO, IN_GO), (ours, {**IN_GO, "ByName": {}, "BestLine": None})):
                answer = await talk.ask(call("ShopV1", "Fill", given, serialize=serialize))
                assert answer.value() == expected
            for wrong, told in (
                ({"UserID": 7, "user_id": 7, "Lines": []}, "'user_id' comes twice"),
                ({"UserID": 7}, "lines"),
                ({"UserID": "7", "Lines": []}, "user_id"),
                ([7], "basket"),
            ):
                answer = await talk.ask(call("ShopV1", "Fill", wrong, serialize=serialize))
                assert told in str(answer.error)


async def test_a_client_writes_and_reads_fields_in_the_names_of_go() -> None:
    @fastrpc.service("ShopV1")
    class InGo:
        @fastrpc.method
        async def Fill(self, given: dict[str, Any]) -> dict[str, Any]:
            assert given["Lines"] == [{"ItemID": 1, "NoteText": ""}]
            return {"UserID": given["UserID"] + 1, "Lines": None}

    async with Server(InGo(), config=ServerConfig(protocols=("rpcx",))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address, config=ClientConfig(wire_protocol="rpcx")) as client:
            with pytest.raises(fastrpc.DecodeError, match="lines"):
                await client.call(Shop.fill, Basket(7, [Line(1)]))
