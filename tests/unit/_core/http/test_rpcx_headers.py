"""The fields of rpcx's header gateway, and fields of its answers, over a transport that leads nowhere."""

from typing import Any

import pytest

from fastrpc import HTTP
from tests.support.gateway_talk import connected

RPCX = HTTP(rpcx=True)
ECHO = {"X-RPCX-ServiceMethod": "echo", "X-RPCX-SerializeType": "1"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"X-RPCX-ServiceMethod": None}, "ServiceMethod is missing"),
        ({"X-RPCX-ServiceMethod": "echo\r\nX-RPCX-ServiceMethod: echo"}, "servicemethod"),
        ({"X-RPCX-SerializeType": None}, "serializetype"),
        ({"X-RPCX-SerializeType": "5"}, "serializetype"),
        ({"X-RPCX-SerializeType": "x"}, "serializetype"),
        ({"X-RPCX-MessageID": "-1"}, "messageid"),
        ({"X-RPCX-MessageID": str(2**64)}, "messageid"),
        ({"X-RPCX-Meta": "a=%zz"}, "X-RPCX-Meta"),
        ({"X-RPCX-Meta": "a=%ff"}, "X-RPCX-Meta"),
        ({"X-RPCX-Meta": "frpc-x=1"}, "reserved"),
        ({"X-RPCX-Meta": "__AUTH=a&Authorization=b"}, "two tokens"),
    ],
)
async def test_invalid_rpcx_fields_are_reported_with_200(fields: dict[str, Any], told: str) -> None:
    async with connected(http=RPCX) as talk:
        answer = await talk.post("/shop.v1", {"text": "a"}, **{**ECHO, **fields})
        assert (answer.status, answer.body) == (200, b"")
        assert answer["x-rpcx-messagestatustype"] == "Error"
        assert told in answer["x-rpcx-errormessage"]
        assert "x-rpcx-meta" not in answer


async def test_sent_fields_are_echoed_and_other_fields_are_empty() -> None:
    async with connected(http=RPCX) as talk:
        answer = await talk.post("/shop.v1", {"text": "a"}, **ECHO)
        assert (answer.status, answer.value) == (200, "a")
        assert [answer[f"x-rpcx-{name}"] for name in ("version", "messageid", "meta")] == ["", "", ""]
        fields = {"X-RPCX-MessageID": str(2**64 - 1), "X-RPCX-Version": "2.x", "X-RPCX-Heartbeat": "true"}
        answer = await talk.post("/", {"text": "a"}, **ECHO, **fields, X_RPCX_ServicePath="shop.v1")
        assert (answer["x-rpcx-messageid"], answer["x-rpcx-version"]) == (str(2**64 - 1), "2.x")


async def test_a_request_without_its_fields_is_an_ordinary_one() -> None:
    async with connected(http=RPCX) as talk:
        answer = await talk.post("/shop.v1/echo", {"text": "a"}, X_RPCX_Version="1")
        assert (answer.status, answer.value, "x-rpcx-version" in answer) == (200, "a", False)
