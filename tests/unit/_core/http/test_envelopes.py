"""What a message of a call by WebSocket may hold: one envelope, and nothing else."""

from typing import Any

import pytest

from fastrpc import HTTP
from tests.support.gateway_talk import connected
from tests.support.socket_client import called, opened_socket
from tests.support.socket_frames import TEXT, client_frame

SOCKETS = HTTP(websocket=True)

WRONG_OPENINGS = [
    1,
    [],
    {"other": 1},
    {"end": False},
    {"value": 1, "end": True},
    {"arguments": {"none": 1}},
    {"arguments": [1]},
    {"timeout_ms": -1},
    {"timeout_ms": "1"},
    {"timeout_ms": True},
    {"metadata": 1},
    {"metadata": {"a": 1}},
    {"metadata": {"A b": "1"}},
    {"metadata": {"authorization": "Bearer a"}},
    {"metadata": {"frpc-x": "a"}},
    {"metadata": {"of": "twice"}},
    {"metadata": {"a-bin": "***"}},
    {"metadata": {"a": "x" * 70_000}},
]


@pytest.mark.parametrize("opening", WRONG_OPENINGS)
async def test_an_envelope_that_says_something_else_is_the_fault_of_the_caller(opening: Any) -> None:
    async with connected(http=SOCKETS) as talk:
        messages, code = await called(talk, "total", opening, Meta_Of="head")
        assert (len(messages), messages[0]["error"]["code"], code) == (1, "INVALID_ARGUMENT", 1000)
        assert messages[0]["error"]["processed"] == "no"


@pytest.mark.parametrize(
    "content", [b"{", b'{"value":1,"value":2}', b"[" * 5_000, b'{"value":' + b"[" * 5_000]
)
async def test_a_message_that_is_no_object_is_the_fault_of_the_caller(content: bytes) -> None:
    async with connected(http=SOCKETS) as talk, opened_socket(talk, "/ws/shop.v1/total") as socket:
        talk.send(client_frame(TEXT, content))
        messages, _ = await socket.rest()
        assert messages[0]["error"]["code"] == "INVALID_ARGUMENT"
