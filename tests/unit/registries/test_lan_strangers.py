"""Datagrams by keys that this program lacks: they are counted, and the first one is named."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc.gauges import COUNTS
from fastrpc.registries.lan.datagrams import ANNOUNCE, NO_NONCE, LanDatagram, is_datagram, signed_datagram
from fastrpc.registries.lan.node import LanNode

OURS, THEIRS = {b"ours": b"1" * 32}, {b"theirs": b"2" * 32}
DATAGRAM = LanDatagram(ANNOUNCE, 0, b"a" * 16, 1, NO_NONCE)


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket that receives, and one that sends to it."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        receiving.bind(("127.0.0.1", 0))
        receiving.setblocking(False)
        sending.connect(receiving.getsockname())
        yield receiving, sending


def received(wire: tuple[socket.socket, socket.socket], *datagrams: bytes) -> LanNode:
    keys: Any = SimpleNamespace(value=OURS)
    node = LanNode(keys, None)
    for one in datagrams:
        wire[1].send(one)
    assert node._receive(wire[0], OURS) == len(datagrams)
    return node


def test_a_datagram_by_another_key_is_counted_and_the_first_one_named(
    wire: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    before = COUNTS["lan_unverified"][""]
    node = received(wire, *[signed_datagram(DATAGRAM, THEIRS)] * 3)
    assert node.strangers == 3
    assert COUNTS["lan_unverified"][""] == before + 3
    [line] = [one.getMessage() for one in caplog.records]
    assert "127.0.0.1 announces servers with the key 'theirs', and this program has 'ours'" in line


def test_a_datagram_with_a_key_of_the_same_name_is_a_stranger(
    wire: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    assert received(wire, signed_datagram(DATAGRAM, {b"ours": b"2" * 32})).strangers == 1
    assert "127.0.0.1 sends announcements whose signature is wrong" in caplog.text


@pytest.mark.parametrize("data", [b"", b"FRLA", b"x" * 200, b"FRLA\x02\x01" + b"x" * 200])
def test_other_bytes_are_no_announcements(
    data: bytes, wire: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    assert not is_datagram(data)
    assert received(wire, data, signed_datagram(DATAGRAM, OURS)).strangers == 0
    assert not caplog.records


def test_an_id_of_odd_bytes_is_shown_in_one_line(
    wire: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    received(wire, signed_datagram(DATAGRAM, {b"\n\x1b[31m\xff": b"2" * 32}))
    [line] = [one.getMessage() for one in caplog.records]
    assert line.isprintable()
