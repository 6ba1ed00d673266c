"""A method as the gateway knows it."""

from typing import Any

import msgspec
import pytest

from fastrpc import CallError, Status
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.http.http_method import HttpMethod
from fastrpc._core.payload.marshal import Marshal
from fastrpc.rpc.marshals import marshal_for
from tests.support.gateway_talk import connected

ECHO = "/shop.v1/echo"


class Kept:
    """Makes methods, and notes what they ask for."""

    def __init__(self, *, is_safe: bool = True, failure: CallError | None = None) -> None:
        self.is_safe = is_safe
        self.failure = failure
        self.codecs: list[str] = []
        self.queries: list[str] = []

    def __call__(self, route: MethodRoute) -> HttpMethod:
        def marshal_of(codec: str) -> Marshal:
            self.codecs.append(codec)
            if self.failure is not None:
                raise self.failure
            return marshal_for(route.definition, codec, depth=64, items=1_000, by_name=True)

        return HttpMethod(route, marshal_of, self.arguments, is_safe=self.is_safe)

    def arguments(self, query: str) -> bytes:
        self.queries.append(query)
        if query == "wrong":
            raise CallError(Status.INVALID_ARGUMENT, "it is wrong")
        return msgspec.json.encode({"text": query})


async def test_what_encodes_its_calls_is_made_once_for_each_codec() -> None:
    kept = Kept()
    async with connected(kept) as talk:
        for _ in range(2):
            await talk.post(ECHO, {"text": "a"})
            body = msgspec.msgpack.encode({"text": "a"})
            await talk.post(ECHO, body, Content_Type="application/msgpack")
    assert kept.codecs == ["json", "msgpack"]


async def test_the_arguments_of_a_safe_method_are_those_of_the_query() -> None:
    kept = Kept()
    async with connected(kept) as talk:
        assert (await talk.get(f"{ECHO}?a%20b")).value == "a%20b"
        assert (await talk.get(ECHO)).value == ""
        answer = await talk.get(f"{ECHO}?wrong")
        assert (answer.status, answer.value["detail"]) == (400, "shop.v1.echo: it is wrong")
    assert kept.queries == ["a%20b", "", "wrong"]


async def test_the_query_of_another_method_is_not_read() -> None:
    kept = Kept(is_safe=False)
    async with connected(kept) as talk:
        answer = await talk.get(f"{ECHO}?a")
        assert (answer.status, answer["allow"]) == (405, "POST")
    assert kept.queries == []


async def test_a_codec_that_cannot_carry_its_types_fails_the_call() -> None:
    async with connected(Kept(failure=CallError(Status.UNIMPLEMENTED, "no json here"))) as talk:
        answer = await talk.post(ECHO, {"text": "a"})
        assert (answer.status, answer.value["detail"]) == (501, "shop.v1.echo: no json here")


async def test_a_method_has_all_its_parts() -> None:
    nothing: Any = None
    with pytest.raises(TypeError):
        HttpMethod(nothing, lambda _: nothing, lambda _: b"", is_safe=True)
