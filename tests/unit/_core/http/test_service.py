"""The methods of a gateway, and the pages that may send requests to it."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from fastrpc import HTTP, CallError, Limits, Status
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.http.own_hosts import OwnHosts
from fastrpc._core.http.service import HttpMethod, HttpService
from fastrpc._core.payload.marshal import Marshal
from fastrpc.rpc.marshals import marshal_for
from tests.support.gateway_talk import connected, method_of
from tests.support.http_shop import Shop
from tests.support.kept_connection import gate_for

ECHO = "/shop.v1/echo"


class Kept:
    """Makes methods, and notes their requests."""

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


async def test_the_encoder_of_calls_is_made_once_for_each_codec() -> None:
    kept = Kept()
    async with connected(kept) as talk:
        for _ in range(2):
            await talk.post(ECHO, {"text": "a"})
            body = msgspec.msgpack.encode({"text": "a"})
            await talk.post(ECHO, body, Content_Type="application/msgpack")
    assert kept.codecs == ["json", "msgpack"]


async def test_the_arguments_of_a_safe_method_are_read_from_the_query() -> None:
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


@pytest.mark.parametrize(
    "host",
    ["shop.example", "SHOP.example:80", "shop.example.", "10.0.0.1", "10.0.0.1:80", "[::1]", "[::1]:80"],
)
async def test_its_own_names_and_addresses_are_this_server(host: str) -> None:
    async with connected(hosts=OwnHosts({"shop.example"})) as talk:
        assert (await talk.post(ECHO, {"text": "a"}, Host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "shop.example.evil.example", "10.0.1", "1.2.3.4.5", "1.2.3.x"]
)
async def test_another_name_is_not_this_server(host: str) -> None:
    async with connected(hosts=OwnHosts({"shop.example"})) as talk:
        assert (await talk.post(ECHO, {"text": "a"}, Host=host)).status == 421


async def test_without_names_any_host_is_this_server() -> None:
    async with connected() as talk:
        assert (await talk.post(ECHO, {"text": "a"}, Host="evil.example")).status == 200


async def test_a_method_is_made_at_its_first_call_and_once() -> None:
    made: Counter[str] = Counter()

    def make(route: MethodRoute) -> HttpMethod:
        made[route.method] += 1
        return method_of(route)

    async with connected(make) as talk:
        assert not made
        for _ in range(3):
            await talk.post(ECHO, {"text": "a"})
        await talk.post("/shop.v1/inline", {})
    assert made == {"shop.v1.echo": 1, "shop.v1.inline": 1}


async def test_paths_are_known_as_bytes() -> None:
    async with gate_for(Shop()) as gate:
        place = object()
        service = HttpService(gate, HTTP(), Limits(), method_of, {"/docs": place}, None)
        assert service.paths == {b"/docs": place}
        assert service.gate is gate


async def test_methods_have_no_paths_if_the_setting_disables_them() -> None:
    async with connected(http=HTTP(json=False)) as talk:
        assert (await talk.post(ECHO, {"text": "a"})).status == 404


FRIEND = "https://friend.example"
FRIENDS = HTTP(cors_origins=(FRIEND,))


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"{FRIEND}.evil.example"},
        {"Origin": f"{FRIEND}\r\nOrigin: {FRIEND}"},
        {"Origin": "ftp://127.0.0.1"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
async def test_a_page_from_elsewhere_may_not_call(fields: dict[str, str]) -> None:
    async with connected(http=FRIENDS) as talk:
        for verb in ("POST", "GET", "OPTIONS"):
            answer = await talk.ask(verb, ECHO, {"text": "a"} if verb == "POST" else b"", **fields)
            assert answer.status == 403
            assert "access-control-allow-origin" not in answer


@pytest.mark.parametrize("origin", ["http://127.0.0.1", "https://127.0.0.1"])
async def test_a_page_of_the_host_itself_is_told_nothing(origin: str) -> None:
    async with connected() as talk:
        answer = await talk.post(ECHO, {"text": "a"}, Origin=origin, Sec_Fetch_Site="same-origin")
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer


async def test_a_page_that_may_call_may_read_the_answer_and_its_metadata() -> None:
    async with connected(http=FRIENDS) as talk:
        answer = await talk.post("/shop.v1/metadata", {}, Origin=FRIEND)
        assert (answer["access-control-allow-origin"], answer["vary"]) == (FRIEND, "Origin")
        assert (
            answer["access-control-expose-headers"] == "Retry-After, X-Request-Id, Meta-answer, Meta-raw-bin"
        )


@pytest.mark.parametrize(
    ("names", "told"),
    [("content-type, meta-user", "content-type, meta-user"), ("a" * 1_025, ""), ("x: y", ""), ("a<b", "")],
)
async def test_a_browser_that_asks_first_is_told_which_fields_it_may_send(names: str, told: str) -> None:
    async with connected(http=FRIENDS) as talk:
        answer = await talk.ask(
            "OPTIONS",
            "/nothing/here",
            Origin=FRIEND,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers=names,
        )
        assert (answer.status, answer["access-control-allow-headers"].strip()) == (204, told)
        assert answer["access-control-allow-methods"] == "GET, HEAD, POST"
        assert "access-control-allow-credentials" not in answer
