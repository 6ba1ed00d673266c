"""Metadata between rpcx and its native form, and the native frames of a translation."""

import re
from typing import Any

import pytest

import fastrpc
from fastrpc import current_call
from fastrpc._core.base.histogram import DROPPED
from fastrpc._core.rpcx.frames import PHOBOS, RPCX, Profile
from fastrpc.errors import RemoteProtocolError
from tests.support.rpcx_link import TranslatedRpcx, served_rpcx
from tests.support.rpcx_wire import Frame, call, metadata_block
from tests.support.wire_frames import Data, Request, Response
from tests.support.wire_metadata import encode_metadata


@fastrpc.service("seen")
class Seen:
    @fastrpc.method
    async def metadata(self) -> dict[str, Any]:
        return dict(current_call().metadata)

    @fastrpc.method
    async def binary(self) -> dict[str, str]:
        return {key: value.hex() for key, value in current_call().metadata.binary.items()}

    @fastrpc.method
    async def milliseconds(self) -> float:
        remaining = current_call().remaining()
        return -1.0 if remaining is None else remaining * 1_000


def framed(block: bytes, *, method: str = "metadata") -> bytes:
    """Return a request whose metadata is this block, valid or not."""
    data = call("seen", method).encode()
    at = 16 + 4 + len("seen") + 4 + len(method)
    rest = data[16:at] + len(block).to_bytes(4, "big") + block + data[at + 4 :]
    return data[:12] + len(rest).to_bytes(4, "big") + rest


async def told(block: bytes, *, method: str = "metadata") -> Any:
    """Return a handler's view of a block, or the answer if there is no value."""
    async with served_rpcx(Seen()) as talk:
        answer = await talk.ask(framed(block, method=method))
        return answer.value() if answer.error is None else answer


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (b"\0", "the length of a key takes 4 bytes, the metadata has 1 left"),
        (b"\0\0\0", "the length of a key takes 4 bytes, the metadata has 3 left"),
        (b"\0\0\0\2a", "a key announces 2 bytes, the metadata has 1 left"),
        (b"\0\0\0\1a", "the length of a value takes 4 bytes, the metadata has 0 left"),
        (b"\0\0\0\1a\0\0\0", "the length of a value takes 4 bytes, the metadata has 3 left"),
        (b"\0\0\0\1a\0\0\0\2b", "a value announces 2 bytes, the metadata has 1 left"),
        (b"\xff\xff\xff\xffa", "a key announces 4294967295 bytes, the metadata has 1 left"),
        (
            metadata_block({"a": "b"}) + b"\0\0\0\1",
            "a key announces 1 bytes, the metadata has 0 left",
        ),
    ],
)
async def test_entries_of_odd_lengths_end_the_connection(block: bytes, text: str) -> None:
    async with served_rpcx(Seen()) as talk:
        await talk.send(framed(block))
        assert (talk.answers(), talk.is_over) == ([], True)
    async with served_rpcx(Seen()) as talk:
        data = framed(block)
        await talk.send(data[:2] + b"\x40" + data[3:])
        assert (talk.answers(), talk.is_over) == ([], True)
    client = TranslatedRpcx()
    client.open()
    client.say(Request(1, b"seen.metadata", codec=1))
    [request] = client.sent()
    data = Frame(response=True, sequence=request.sequence).encode()
    answer = (
        data[:12] + (16 + len(block)).to_bytes(4, "big") + bytes(8) + len(block).to_bytes(4, "big") + block
    )
    with pytest.raises(RemoteProtocolError, match=re.escape(text)):
        client.hear(answer + bytes(4))


async def test_keys_arrive_in_lower_case_and_the_last_of_two_counts() -> None:
    block = metadata_block([("Trace", "1"), ("a", "first"), ("a", "last"), ("empty", "")])
    assert await told(block) == {"trace": "1", "a": "last", "empty": ""}


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([("Frpc-Code", "OK")], "frpc- is reserved"),
        ([("text", "\udcff")], "metadata 'text' is not UTF-8; keys of binary values end in -bin"),
        (
            [("__AUTH", "a"), ("authorization", "b")],
            "has __AUTH and authorization, only one of them is allowed",
        ),
    ],
)
async def test_values_without_a_native_form_are_refused_with_the_reason(
    entries: list[tuple[str, str]], text: str
) -> None:
    answer = await told(metadata_block(entries))
    assert answer.metadata["frpc-code"] == "INVALID_ARGUMENT"
    assert text in answer.metadata["__rpcx_error__"]


async def test_a_binary_value_and_a_request_id_pass() -> None:
    block = metadata_block([("x-bin", "\udcff"), ("Frpc-Request-Id", "7")])
    assert await told(block, method="binary") == {"x-bin": "ff"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2000", 2_000), ("999999999999", 999_999_999_999), ("", -1), ("-", -1), ("1.5", -1), ("1" * 13, -1)],
)
async def test_a_timeout_that_is_no_number_is_ignored(text: str, expected: int) -> None:
    seen = await told(metadata_block({"__ServerTimeout": text}), method="milliseconds")
    without = await told(b"", method="milliseconds")
    assert 0 < seen <= expected if expected > 0 else abs(seen - without) < 1_000


@pytest.mark.parametrize("text", ["0", "-1", "-999999999999"])
async def test_a_timeout_up_to_zero_has_passed(text: str) -> None:
    answer = await told(metadata_block({"__ServerTimeout": text}), method="milliseconds")
    assert answer.metadata["frpc-code"] == "DEADLINE_EXCEEDED"


#: Keys of Go that have no native form.
FOREIGN_KEYS = ("", "k" * 256, "a b", "größe", "a/b", "\x00")


@pytest.mark.parametrize("profile", [RPCX, PHOBOS], ids=lambda profile: profile.name)
async def test_entries_of_a_request_whose_keys_have_no_native_form_are_left_out(
    profile: Profile, caplog: pytest.LogCaptureFixture
) -> None:
    before = DROPPED.get(profile.name, 0)
    block = metadata_block([(key, "x") for key in FOREIGN_KEYS] + [("Kept", "1")])
    async with served_rpcx(Seen(), profile=profile) as talk:
        for _ in range(2):
            assert (await talk.ask(framed(block))).value() == {"kept": "1"}
    assert DROPPED[profile.name] == before + 2 * len(FOREIGN_KEYS)
    [told] = [one.getMessage() for one in caplog.records if "is left out" in one.getMessage()]
    assert told.startswith(f"{profile.name}: the metadata entry '' is left out, keys are 1 to 255 of a-z")


@pytest.mark.parametrize("wire", ["rpcx", "phobos"])
def test_entries_of_an_answer_whose_keys_have_no_native_form_are_left_out(
    wire: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = DROPPED.get(wire, 0)
    client = TranslatedRpcx(wire=wire, takes_pushes=True)
    client.open()
    client.say(*[Request(id, b"seen.metadata", codec=1) for id in (1, 3)])
    metadata = {**dict.fromkeys(FOREIGN_KEYS, "x"), "Server": "here"}
    for request in client.sent():
        [taken] = client.hear(Frame(response=True, sequence=request.sequence, metadata=metadata))
        assert isinstance(taken, Response)
        assert (taken.status, taken.metadata) == (0, encode_metadata([(b"server", b"here")]))
    [pushed] = client.hear(Frame(one_way=True, path="news", method="told", serialize=0, metadata=metadata))
    assert isinstance(pushed, Request)
    assert DROPPED[wire] == before + 3 * len(FOREIGN_KEYS)
    assert sum("is left out" in one.getMessage() for one in caplog.records) == 1


def test_metadata_of_an_answer_is_accepted_and_fails_the_call_if_it_has_no_native_form() -> None:
    client = TranslatedRpcx()
    client.open()
    client.say(*[Request(id, b"seen.metadata", codec=1) for id in (1, 3)])
    first, second = client.sent()
    taken, refused = client.hear(
        Frame(response=True, sequence=first.sequence, metadata={"Server": "here"}),
        Frame(response=True, sequence=second.sequence, metadata={"text": "\udcff"}),
    )
    assert isinstance(taken, Response)
    assert (taken.status, taken.metadata) == (0, encode_metadata([(b"server", b"here")]))
    assert isinstance(refused, Response)
    assert refused.status == 13
    assert b"the answer cannot be taken: metadata 'text' is not UTF-8" in refused.message


def test_the_last_of_two_keys_of_an_answer_that_differ_by_case_counts() -> None:
    client = TranslatedRpcx()
    client.open()
    client.say(Request(1, b"seen.metadata", codec=1))
    [request] = client.sent()
    metadata = {"Foo": "first", "other": "x", "foo": "last"}
    [taken] = client.hear(Frame(response=True, sequence=request.sequence, metadata=metadata))
    assert isinstance(taken, Response)
    assert (taken.status, taken.metadata) == (0, encode_metadata([(b"foo", b"last"), (b"other", b"x")]))


def answered(payload: bytes = b"", **fields: object) -> list[object]:
    """Return the frames that the connection above gets for one answer."""
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
