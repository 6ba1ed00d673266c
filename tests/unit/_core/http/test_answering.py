"""Each request is answered in its form, which its head decides."""

from fastrpc import HTTP
from tests.support.gateway_talk import connected

FIELDS = {"X-RPCX-ServicePath": "shop.v1", "X-RPCX-SerializeType": "1"}


async def test_requests_of_several_forms_follow_each_other_on_one_connection() -> None:
    async with connected(http=HTTP(rpcx=True)) as talk:
        for _ in range(2):
            answer = await talk.post("/shop.v1/echo", {"text": "a"})
            assert (answer["content-type"], answer.value) == ("application/json", "a")
            answer = await talk.post("/", {"text": "a"}, **FIELDS, X_RPCX_ServiceMethod="echo")
            assert (answer["x-rpcx-servicemethod"], answer.value) == ("echo", "a")
            answer = await talk.post("/shop.v1/count", {"to": 1}, Accept="text/event-stream")
            assert answer["content-type"] == "text/event-stream"
            answer = await talk.post("/shop.v1/fail", {"status": "NOT_FOUND"})
            assert (answer.status, answer["content-type"]) == (404, "application/problem+json")
