"""The bytes on a data connection."""

import pytest

from fastrpc.relay.wire import new_ticket, opened_header, signed_header


@pytest.mark.parametrize(
    "caller",
    [("192.0.2.7", 51_814), ("2001:db8::7", 1), ("::ffff:192.0.2.7", 65_535), ("fe80::1%eth0", 9, 0, 2)],
)
def test_a_server_reads_the_caller_that_the_relay_named(caller: tuple[str, int]) -> None:
    ticket = new_ticket()
    header = signed_header(caller, ticket.key)
    expected = caller[0].removeprefix("::ffff:").partition("%")[0], caller[1]
    assert opened_header(header + b"the rest", ticket.key) == (len(header), expected)


def test_a_header_is_waited_for() -> None:
    header = signed_header(("192.0.2.7", 1), b"k" * 32)
    assert all(opened_header(header[:size], b"k" * 32) is None for size in range(len(header)))


def test_every_changed_byte_of_a_header_is_noticed() -> None:
    header = signed_header(("192.0.2.7", 1), b"k" * 32)
    for place in range(len(header)):
        changed = bytearray(header)
        changed[place] ^= 1
        try:
            assert opened_header(bytes(changed), b"k" * 32) is None
        except ValueError:
            continue


def test_a_header_by_another_key_is_refused() -> None:
    with pytest.raises(ValueError, match="HMAC"):
        opened_header(signed_header(("192.0.2.7", 1), b"k" * 32), b"j" * 32)


def test_tickets_differ() -> None:
    assert len({part for _ in range(100) for part in new_ticket()}) == 200
