"""The facts of a call that its HTTP request states."""

import gzip

import pytest

from fastrpc._core.http.http_call import Outcome
from fastrpc._core.link.failure import Failure
from tests.support.gateway_talk import connected

ECHO = "/shop.v1/echo"


@pytest.mark.parametrize("target", [ECHO, f"{ECHO}?a=b", f"http://127.0.0.1{ECHO}"])
async def test_a_path_of_service_and_method_is_a_call(target: str) -> None:
    async with connected() as talk:
        assert (await talk.post(target, {"text": "a"})).value == "a"


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "/shop.v1.echo",
        "/shop/v1.echo",
        "/shop.v1/echo/",
        "//shop.v1/echo",
        "/shop.v1/ech%6f",
        "/shop.v1/Echo",
        "/shop.v1/",
        "/" + "a" * 300 + "/echo",
    ],
)
async def test_any_other_path_leads_nowhere(target: str) -> None:
    async with connected() as talk:
        answer = await talk.post(target, {"text": "a"})
        assert (answer.status, answer.value["code"]) == (404, "UNIMPLEMENTED")


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "OPTIONS", "post"])
async def test_a_refused_verb_names_the_accepted_ones(verb: str) -> None:
    async with connected() as talk:
        answer = await talk.ask(verb, ECHO)
        assert (answer.status, answer["allow"]) == (405, "GET, HEAD, POST")


async def test_a_body_may_be_compressed_by_gzip_alone() -> None:
    async with connected() as talk:
        body = gzip.compress(b'{"text":"a"}')
        assert (await talk.post(ECHO, body, Content_Encoding="GZIP")).value == "a"
        assert (await talk.post(ECHO, {"text": "a"}, Content_Encoding="identity")).value == "a"
        for encoding in ("br", "gzip, gzip", ""):
            assert (await talk.post(ECHO, body, Content_Encoding=encoding)).status == 415


async def test_metadata_that_would_break_a_field_fails_the_call() -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/breaking", {})
        assert answer.status == 500
        assert "'bad'" in answer.value["detail"]
        assert "set-cookie" not in answer


def test_an_outcome_is_a_value_or_a_failure() -> None:
    failure = Failure(5, "gone")
    assert (Outcome(b"1", None).value, Outcome(b"1", None).failure) == (b"1", None)
    assert (Outcome(None, failure).value, Outcome(None, failure).failure) == (None, failure)
