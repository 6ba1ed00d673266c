"""Recorded clients of rpcx's header gateway call ours: its answers equal the answers of Go's in all that is defined."""

import json

import pytest

from fastrpc import HTTP, Server, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from tests.support.http_talk import HttpClient
from tests.support.phobos_arith import Arith as PhobosArith
from tests.support.phobos_arith import Functions
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_vectors import Recorded, recorded_beside

pytestmark = pytest.mark.one_loop

RECORDED = {one.name: one for one in recorded_beside("gateway_")}

#: Errors whose text the handler chose, or rpcx itself; other texts are from Go's libraries.
OWN_TEXTS = {"gateway_error", "gateway_unknown_service"}


def told(lines: list[tuple[str, str]], *, has_text: bool) -> dict[str, str]:
    """Return the fields of rpcx, of an error with a text that is not defined without it."""
    found = {name.lower(): value for name, value in lines if name.lower().startswith("x-rpcx-")}
    if not has_text and "x-rpcx-errormessage" in found:
        found["x-rpcx-errormessage"] = ""
    return found


def answer_of(recording: Recorded) -> tuple[int, list[tuple[str, str]], bytes]:
    head, _, body = recording.from_server.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = [line.split(":", 1) for line in lines]
    return int(first.split()[1]), [(name, value.strip()) for name, value in fields], body


@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_request_gets_the_recorded_answer(name: str) -> None:
    recording = RECORDED[name]
    status, fields, body = answer_of(recording)
    config = ServerConfig(protocols=("http",), http=HTTP(rpcx=True))
    tokens = StaticTokens({"secret": Identity("gopher")}) if name == "gateway_auth_bad" else None
    async with Server(Arith(), config=config, authenticate=tokens) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(recording.from_client)
            answer = await client.response()
    assert answer.status == status
    has_text = name in OWN_TEXTS
    assert told(answer.fields, has_text=has_text) == told(fields, has_text=has_text)
    if status == 405:
        assert {"GET", "POST", "PUT"} <= set(answer["allow"].split(", "))
    else:
        assert (answer.body and json.loads(answer.body)) == (body and json.loads(body))


#: The recordings of Phobos; the same folder has the frames that its gateway sent to its server.
PHOBOS = {one.name: one for one in recorded_beside("gateway_", "phobos") if not one.name.endswith("_frames")}

#: Actions of Phobos's gateway that ours does not do, with the reason.
PHOBOS_EXCLUDED = {"gateway_gzip": "our server inflates requests, and does not fail them"}

PHOBOS_OWN_TEXTS = {
    *("gateway_error", "gateway_error_metadata", "gateway_unknown_method", "gateway_unknown_service"),
    "gateway_no_method",
}

#: Fields of answers that are not HTTP's own.
HTTP_FIELDS = {
    "date",
    "cache-control",
    "content-length",
    "content-type",
    "connection",
    "x-content-type-options",
    "allow",
}


@pytest.mark.parametrize("name", sorted(PHOBOS.keys() - PHOBOS_EXCLUDED))
async def test_a_recorded_request_of_phobos_gets_the_recorded_answer(name: str) -> None:
    recording = PHOBOS[name]
    status, fields, body = answer_of(recording)
    config = ServerConfig(protocols=("http", "phobos"), http=HTTP(phobos=True, allowed_hosts=("gateway",)))
    async with Server(PhobosArith(), Functions(), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(recording.from_client)
            answer = await client.response()
    assert answer.status == status
    if status == 405:
        assert {"GET", "POST", "PUT"} <= set(answer["allow"].split(", "))
        return
    found, expected = (
        {name.lower(): value for name, value in lines if name.lower() not in HTTP_FIELDS}
        for lines in (answer.fields, fields)
    )
    if name not in PHOBOS_OWN_TEXTS:
        assert found.keys() == expected.keys()
        assert found.get("phobos-gateway-messagestatustype") == expected.get(
            "phobos-gateway-messagestatustype"
        )
    else:
        assert found == expected
    assert answer.body == body
