"""The host name in a ClientHello."""

import random

import pytest

from fastrpc.relay.hello import MOST_HELLO_BYTES, HelloReader
from fastrpc.relay.refusals import RefusalReason, RelayRefusedError
from tests.support.client_hellos import hello_of_openssl, made_hello, named, recorded

HELLO = recorded(made_hello(named(b"edge-7.relay.example")))


def read(*pieces: bytes) -> str | None:
    reader = HelloReader()
    found = None
    for piece in pieces:
        assert found is None
        found = reader.feed(piece)
    assert bytes(reader.received) == b"".join(pieces)
    return found


def refusal(*pieces: bytes) -> RefusalReason:
    with pytest.raises(RelayRefusedError) as refused:
        read(*pieces)
    return refused.value.reason


def test_the_name_in_a_hello_of_openssl_is_found() -> None:
    assert read(hello_of_openssl("edge-7.relay.example")) == "edge-7.relay.example"


def test_a_hello_may_be_cut_at_every_byte() -> None:
    hello = hello_of_openssl("edge-7.relay.example")
    for place in range(1, len(hello)):
        assert read(hello[:place], hello[place:]) == "edge-7.relay.example"


def test_a_hello_may_come_byte_by_byte() -> None:
    hello = hello_of_openssl("edge-7.relay.example")
    assert read(*(hello[place : place + 1] for place in range(len(hello)))) == "edge-7.relay.example"


def test_a_hello_may_be_cut_into_records_at_every_byte() -> None:
    message = made_hello(named(b"edge-7.relay.example"))
    for place in range(1, len(message)):
        assert read(recorded(message, [place])) == "edge-7.relay.example"
    assert read(recorded(message, [1] * (len(message) - 1))) == "edge-7.relay.example"


def test_a_name_is_read_in_lower_case() -> None:
    assert read(recorded(made_hello(named(b"Edge-7.RELAY.example")))) == "edge-7.relay.example"


def test_a_hello_that_is_cut_short_is_waited_for() -> None:
    assert all(read(HELLO[:size]) is None for size in range(1, len(HELLO)))


def test_bytes_of_another_protocol_are_refused_at_once() -> None:
    for first in (b"G", b"\x80", b"\x17\x03\x03", b"\x16\x02\x00\x00\x05", b"\x00"):
        assert refusal(first) is RefusalReason.NOT_TLS


def test_another_message_of_a_handshake_is_refused() -> None:
    assert refusal(recorded(b"\x02\x00\x00\x00")) is RefusalReason.MALFORMED


def test_an_empty_record_is_refused() -> None:
    assert refusal(b"\x16\x03\x01\x00\x00") is RefusalReason.MALFORMED


def test_a_hello_without_a_name_is_refused() -> None:
    assert refusal(hello_of_openssl(None)) is RefusalReason.NO_NAME
    assert refusal(recorded(made_hello())) is RefusalReason.NO_NAME
    assert refusal(recorded(made_hello(named(b"edge", kind=1)))) is RefusalReason.NO_NAME


def test_a_hello_without_extensions_is_refused() -> None:
    body = b"\x03\x01" + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    assert refusal(recorded(b"\x01" + len(body).to_bytes(3) + body)) is RefusalReason.NO_NAME


def test_a_hello_with_two_names_is_refused() -> None:
    both = named(b"edge-7.relay.example", b"edge-8.relay.example")
    twice = (named(b"edge-7.relay.example"), named(b"edge-7.relay.example"))
    assert refusal(recorded(made_hello(both))) is RefusalReason.TWO_NAMES
    assert refusal(recorded(made_hello(*twice))) is RefusalReason.TWO_NAMES


@pytest.mark.parametrize(
    "name", [b"", b"a" * 64, b"a..b", b"a.b.", b"a b", b"a\x00b", b"\xff", b"a/b", b"*.b"]
)
def test_a_name_in_another_form_is_refused(name: bytes) -> None:
    assert refusal(recorded(made_hello(named(name)))) is RefusalReason.MALFORMED


def test_the_largest_hello_is_read_and_a_larger_one_refused() -> None:
    for size, found in ((MOST_HELLO_BYTES, "edge-7.relay.example"), (MOST_HELLO_BYTES + 1, None)):
        names = named(b"edge-7.relay.example")
        ballast = size - len(recorded(made_hello(names, ballast=1))) + 1
        hello = recorded(made_hello(names, ballast=ballast))
        assert len(hello) == size
        if found is not None:
            assert read(hello) == found
        else:
            assert refusal(hello) is RefusalReason.OVERSIZED


def test_a_hello_that_announces_too_much_is_refused_at_its_head() -> None:
    assert refusal(recorded(b"\x01\x01\x00\x00")) is RefusalReason.OVERSIZED


def test_a_hello_cut_short_inside_is_refused() -> None:
    message = made_hello(named(b"edge-7.relay.example"))
    for size in range(len(message) - 5):
        body = message[4 : 4 + size]
        found = refusal(recorded(b"\x01" + len(body).to_bytes(3) + body))
        assert found in (RefusalReason.MALFORMED, RefusalReason.NO_NAME)


def test_random_changes_of_a_hello_raise_nothing_else() -> None:
    source = random.Random(7)
    for _ in range(2_000):
        hello = bytearray(HELLO)
        for _ in range(source.randint(1, 4)):
            hello[source.randrange(len(hello))] = source.randrange(256)
        try:
            read(bytes(hello))
        except RelayRefusedError:
            continue
