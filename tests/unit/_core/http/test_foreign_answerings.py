"""Answers of foreign forms: here by the header gateway of rpcx."""

from fastrpc import HTTP
from tests.support.gateway_talk import connected

RPCX = HTTP(rpcx=True)
FIELDS = {"X-RPCX-ServicePath": "shop.v1", "X-RPCX-SerializeType": "1"}


async def test_texts_and_failures_match_servers_in_go() -> None:
    async with connected(http=RPCX) as talk:
        answer = await talk.post("/", {"text": "a"}, **FIELDS, X_RPCX_ServiceMethod="nothing")
        assert answer["x-rpcx-messagestatustype"] == "Error"
        assert answer["x-rpcx-errormessage"] == "rpcx: can't find method nothing"
        assert answer.body == b""


async def test_metadata_of_an_answer_is_in_a_field_of_rpcx_alone() -> None:
    async with connected(http=RPCX) as talk:
        answer = await talk.post("/", {}, **FIELDS, X_RPCX_ServiceMethod="metadata")
        assert (answer.status, answer["x-rpcx-meta"].split("&")[0]) == (200, "answer=%C3%A4+b%25c")
        assert not any("answer" in name for name, _ in answer.fields)
