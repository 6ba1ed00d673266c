"""Ports that are bound before a server starts."""

import socket
from pathlib import Path

import pytest

from fastrpc.grpc.ports import bound_port


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "localhost:0", "[::]:0", "0.0.0.0:0", "dns:///localhost:0"]
)
def test_port_0_becomes_a_free_one(address: str) -> None:
    port = bound_port(address, is_encrypted=False, reuse_port=True)
    assert port.number > 0
    for name, bound in port.sockets:
        assert bound is not None
        assert bound.getsockname()[1] == port.number
        assert name.startswith("tcp://")
        assert name.endswith(f":{port.number}")
    port.close()


def test_an_encrypted_port_has_the_scheme_of_tls() -> None:
    port = bound_port("127.0.0.1:0", is_encrypted=True, reuse_port=True)
    assert port.sockets[0][0] == f"tls://127.0.0.1:{port.number}"
    port.close()


def test_a_path_is_bound_by_the_server(tmp_path: Path) -> None:
    for address in (f"unix:{tmp_path}/a", f"unix://{tmp_path}/a"):
        port = bound_port(address, is_encrypted=False, reuse_port=True)
        assert port == (1, [(f"unix://{tmp_path}/a", None)])


def test_a_port_is_shared_only_if_configured() -> None:
    one = bound_port("127.0.0.1:0", is_encrypted=False, reuse_port=True)
    other = bound_port(f"127.0.0.1:{one.number}", is_encrypted=False, reuse_port=True)
    other.close()
    one.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RuntimeError, match=f"Failed to bind to address {address}"):
            bound_port(address, is_encrypted=False, reuse_port=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", "no-such-host.invalid:1"])
def test_addresses_that_cannot_be_bound_are_refused(address: str) -> None:
    with pytest.raises(RuntimeError, match="Failed to bind to address"):
        bound_port(address, is_encrypted=False, reuse_port=True)
