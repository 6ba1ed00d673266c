"""The native frames of a translation: what the connection above gets for answers of rpcx."""

import pytest

from tests.support.rpcx_link import TranslatedRpcx
from tests.support.rpcx_wire import Frame
from tests.support.wire_frames import Data, Request, Response


def answered(payload: bytes = b"", **fields: object) -> list[object]:
    """Return what the connection above gets for one answer."""
    client = TranslatedRpcx()
    client.open()
    client.say(Request(1, b"a.b", codec=1))
    [request] = client.sent()
    frame = Frame(response=True, sequence=request.sequence, payload=payload, **fields)  # type: ignore[arg-type]
    return client.hear(frame)


def test_a_short_answer_is_one_frame() -> None:
    [response] = answered(b"\xc0")
    assert isinstance(response, Response)
    assert (response.id, response.status, response.payload) == (1, 0, b"\xc0")


def test_a_long_answer_comes_in_pieces_of_one_message() -> None:
    payload = bytes(200_000)
    first, *rest = answered(payload)
    assert isinstance(first, Response)
    assert all(isinstance(one, Data) for one in rest)
    assert first.payload + b"".join(one.payload for one in rest) == payload  # type: ignore[attr-defined]


@pytest.mark.parametrize(("size", "shown"), [(4_096, 4_096), (4_097, 4_096), (9_000, 4_096)])
def test_the_text_of_an_error_is_cut_between_characters(size: int, shown: int) -> None:
    text = "ä" * (size // 2) + "x" * (size % 2)
    [response] = answered(metadata={"__rpcx_error__": text}, status=1)
    assert isinstance(response, Response)
    assert len(response.message) <= shown
    assert response.message.decode() == text or response.message.decode().endswith("…")
