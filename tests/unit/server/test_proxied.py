"""Headers of the PROXY protocol: their ends, their addresses, and invalid ones."""

import struct

import pytest

from fastrpc.server.proxied import parse_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def binary(family: int, body: bytes, *, version_command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack(">BBH", version_command, family, len(body)) + body


IPV4 = bytes([10, 1, 2, 3, 192, 168, 0, 1]) + struct.pack(">HH", 4321, 8972)
IPV6 = bytes.fromhex("20010db8" + "00" * 11 + "07") + bytes(15) + b"\x01" + struct.pack(">HH", 4321, 8972)
FURTHER_FIELDS = b"\x04\x00\x08" + bytes(8)

GOOD = [
    (b"PROXY TCP4 10.1.2.3 192.168.0.1 4321 8972\r\n", ("10.1.2.3", 4321)),
    (b"PROXY TCP6 2001:db8::7 ::1 4321 8972\r\n", ("2001:db8::7", 4321)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (binary(0x11, IPV4), ("10.1.2.3", 4321)),
    (binary(0x11, IPV4 + FURTHER_FIELDS), ("10.1.2.3", 4321)),
    (binary(0x21, IPV6), ("2001:db8::7", 4321)),
    (binary(0x00, b"", version_command=0x20), None),
    (binary(0x11, IPV4, version_command=0x20), None),
    (binary(0x00, b""), None),
    (binary(0x31, bytes(216)), None),
]

BAD = [
    b"GET / HTTP/1.1\r\n",
    b"FRPC",
    b"proxy TCP4",
    b"PROXY\r\n",
    b"PROXY  TCP4 10.1.2.3 192.168.0.1 4321 8972\r\n",
    b"PROXY TCP4 10.1.2.3 192.168.0.1 4321\r\n",
    b"PROXY TCP4 10.1.2.3 192.168.0.1 4321 8972 x\r\n",
    b"PROXY TCP4 10.1.2.300 192.168.0.1 4321 8972\r\n",
    b"PROXY TCP4 ::1 ::1 4321 8972\r\n",
    b"PROXY TCP6 10.1.2.3 10.1.2.3 4321 8972\r\n",
    b"PROXY TCP4 10.1.2.3 192.168.0.1 65536 8972\r\n",
    b"PROXY TCP4 10.1.2.3 192.168.0.1 -1 8972\r\n",
    b"PROXY TCP4 10.1.2.3 192.168.0.1 4_3 8972\r\n",
    b"PROXY UDP4 10.1.2.3 192.168.0.1 4321 8972\r\n",
    b"PROXY TCP4 " + b"1" * 200,
    binary(0x11, IPV4, version_command=0x11),
    binary(0x11, IPV4, version_command=0x22),
    binary(0x11, IPV4[:-1]),
    binary(0x21, IPV4),
    binary(0x12, IPV4),
    binary(0x11, bytes(5_000)),
]


@pytest.mark.parametrize(("header", "address"), GOOD)
def test_header_ends_where_it_says_and_names_the_peer(header: bytes, address: object) -> None:
    assert parse_header(header) == (len(header), address)
    assert parse_header(header + b"FRPC and more") == (len(header), address)


@pytest.mark.parametrize(("header", "address"), GOOD)
def test_header_can_come_in_any_pieces(header: bytes, address: object) -> None:
    assert all(parse_header(header[:size]) is None for size in range(len(header)))


@pytest.mark.parametrize("received", BAD)
def test_anything_else_is_none(received: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY"):
        parse_header(received)
