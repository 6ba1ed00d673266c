"""Which addresses only this machine can reach."""

import pytest

from fastrpc.endpoint import Address, is_local


@pytest.mark.parametrize(
    "text",
    [
        "unix:///s",
        "memory://m",
        "tcp://localhost:1",
        "tcp://127.0.0.1:1",
        "tcp://127.9.9.9:1",
        "tcp://[::1]:1",
    ],
)
def test_loopback_unix_and_memory_are_local(text: str) -> None:
    assert is_local(Address.parse(text))


@pytest.mark.parametrize(
    "text",
    ["tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://:1", "tcp://10.0.0.1:1", "tcp://localhost.example.org:1"],
)
def test_addresses_reachable_from_outside_are_not_local(text: str) -> None:
    assert not is_local(Address.parse(text))
