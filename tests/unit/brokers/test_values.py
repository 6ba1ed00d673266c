"""Values and headers of messages."""

from dataclasses import dataclass
from typing import Any

import pytest

from fastrpc import ConfigError, DecodeError, EncodeError
from fastrpc._core.payload.metadata import encode_metadata
from fastrpc.brokers.base import HEADER_BYTES, MESSAGE_BYTES, Delivery
from fastrpc.brokers.traces import metadata_of
from fastrpc.brokers.values import decoder_of, encode_message, readable_headers
from tests.support.small_broker import PUBLISHED_AT


@dataclass
class Order:
    id: str
    price: float = 0


class Proto:
    """Has the methods by which messages of protobuf are known."""

    def __init__(self, text: str) -> None:
        self.text = text

    def SerializeToString(self) -> bytes:
        return self.text.encode()

    @classmethod
    def FromString(cls, data: bytes) -> "Proto":
        if data == b"broken":
            raise ValueError("Error parsing message")
        return cls(data.decode())


class Other(Proto):
    pass


def delivered(body: bytes, headers: dict[str, str]) -> Delivery:
    return Delivery("orders", body, None, "id", 1, headers, None, PUBLISHED_AT, 1, None)


def through(value: Any, published: Any = None, subscribed: Any = None) -> Any:
    """Return a value as a subscriber has it."""
    return decoder_of(subscribed)(delivered(*encode_message("orders", value, published, None)))


def test_values_are_json_and_bytes_and_messages_of_protobuf_stay() -> None:
    assert encode_message("o", Order("1"), None, None) == (
        b'{"id":"1","price":0}',
        {"content-type": "application/json"},
    )
    for value in (b"\x00", bytearray(b"\x00"), memoryview(b"\x00")):
        assert encode_message("o", value, None, None) == (
            b"\x00",
            {"content-type": "application/octet-stream"},
        )
    assert encode_message("o", Proto("a"), Proto, None) == (b"a", {"content-type": "application/proto"})


def test_values_come_out_as_the_type_that_is_asked() -> None:
    assert through(Order("1", 2.5), Order, Order) == Order("1", 2.5)
    assert through(Order("1"), Order, bytes) == b'{"id":"1","price":0}'
    assert through(b"\x00", bytes, bytes) == b"\x00"
    assert through(Proto("a"), Proto, Proto).text == "a"
    assert through(None, Order | None, Order | None) is None


def test_untyped_values_are_plain_data_or_bytes() -> None:
    assert through(Order("1")) == {"id": "1", "price": 0}
    assert through(None) is None
    assert through(b"{}") == b"{}"
    assert through(Proto("a")) == b"a"
    assert decoder_of(None)(delivered(b"{}", {})) == b"{}"


@pytest.mark.parametrize(
    ("body", "headers", "kind", "words"),
    [
        (b'{"id": 1}', {"content-type": "application/json"}, Order, "is not of type Order: Expected `str`"),
        (b"not JSON", {}, Order, "the message 'id' of 'orders' is not of type Order"),
        (b"[" * 100_000, {}, Any, "is not of type Any"),
        (b"{}", {"content-type": "application/octet-stream"}, Order, "is application/octet-stream"),
        (b"{}", {"content-type": "application/json"}, Proto, "application/proto is expected"),
        (b"broken", {"content-type": "application/proto"}, Proto, "is not of type Proto"),
    ],
)
def test_value_that_does_not_fit_is_refused(
    body: bytes, headers: dict[str, str], kind: Any, words: str
) -> None:
    with pytest.raises(DecodeError, match=words):
        decoder_of(kind)(delivered(body, headers))


def test_content_type_may_have_parameters_and_large_letters() -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert decoder_of(Order)(delivered(b'{"id": "1"}', headers)) == Order("1")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"1", Order),
        (Order("1"), bytes),
        (Proto("a"), Order),
        (Other("a"), bytes),
        (Proto("a"), Other),
        (1, Proto),
    ],
)
def test_value_of_another_form_than_the_topic_is_refused_at_its_publisher(value: Any, kind: Any) -> None:
    with pytest.raises(EncodeError, match=f"the message for 'orders' is a {type(value).__name__}"):
        encode_message("orders", value, kind, None)


@pytest.mark.parametrize("value", [object(), float("nan"), {"a": {1, object()}}])
def test_value_that_cannot_be_json_is_refused(value: Any) -> None:
    with pytest.raises(EncodeError, match="the message for 'orders' cannot be JSON"):
        encode_message("orders", value, None, None)


def test_nan_in_a_value_of_its_topics_type_is_refused() -> None:
    with pytest.raises(EncodeError, match="NaN"):
        encode_message("orders", Order("1", float("nan")), Order, None)


def test_class_that_names_an_unknown_type_is_published() -> None:
    @dataclass
    class Partial:
        part: "Missing"  # type: ignore[name-defined]  # noqa: F821

    assert encode_message("orders", Partial(1), Partial, None)[0] == b'{"part":1}'


def test_type_that_json_does_not_have_is_refused_before_any_message() -> None:
    with pytest.raises(ConfigError):
        decoder_of(5)


def test_message_may_have_a_mebibyte_and_no_byte_more() -> None:
    assert len(encode_message("orders", bytes(MESSAGE_BYTES), None, None)[0]) == MESSAGE_BYTES
    with pytest.raises(ConfigError, match=f"has {MESSAGE_BYTES + 1} bytes, the limit is {MESSAGE_BYTES}"):
        encode_message("orders", bytes(MESSAGE_BYTES + 1), None, None)


def test_headers_are_counted_in_bytes_of_names_and_values() -> None:
    room = HEADER_BYTES - len("content-typeapplication/json") - len("x")
    encode_message("orders", 1, None, {"x": "a" * room})
    for text in ("a" * (room + 1), "é" * (room // 2 + 1)):
        with pytest.raises(ConfigError, match=f"the limit is {HEADER_BYTES}"):
            encode_message("orders", 1, None, {"x": text})


def test_publishers_headers_are_copied_and_own_ones_are_hidden() -> None:
    given = {"tenant": "acme"}
    _, headers = encode_message("orders", b"", None, {**given, "content-type": "image/png"})
    assert headers == {"tenant": "acme", "content-type": "image/png"}
    assert given == {"tenant": "acme"}
    assert readable_headers({"frpc-trace": "1", "tenant": "acme"}) == given


@pytest.mark.parametrize(
    ("headers", "kind", "words"),
    [
        ({"authorization": "Bearer secret-word"}, ConfigError, "'authorization' is refused"),
        ({"frpc-trace": "1"}, ConfigError, "frpc- is reserved"),
        ({"Tenant": "1"}, ConfigError, "a-z"),
        ({"": "1"}, ConfigError, "a-z"),
        ({"x": "\ud800"}, ConfigError, "not UTF-8"),
        ({"x": 1}, TypeError, "the header 'x' is int"),
        ({"x": b"1"}, TypeError, "the header 'x' is bytes"),
        ({"content-type": "text/plain"}, ConfigError, "this value is application/json"),
    ],
)
def test_wrong_header_is_refused_and_no_secret_is_shown(
    headers: dict[Any, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        encode_message("orders", 1, None, headers)
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"tenant": "a"}, {"tenant": "a", "frpc-other": "b", "shop": "c"}])
def test_headers_are_the_metadata_of_a_delivery_without_own_names(headers: dict[str, str]) -> None:
    metadata = {name: text for name, text in headers.items() if not name.startswith("frpc-")}
    for _ in range(2):
        assert metadata_of(headers) == encode_metadata(metadata)


def test_delivery_with_own_headers_alone_has_no_metadata() -> None:
    assert metadata_of({"frpc-other": "a"}) is None
    with pytest.raises(ValueError, match="Large"):
        metadata_of({"Large": "a"})
