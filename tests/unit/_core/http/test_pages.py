"""Whose pages may send a request, and what browsers are told of that."""

import pytest

from fastrpc import HTTP
from tests.support.gateway_talk import connected

ECHO = "/shop.v1/echo"
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
