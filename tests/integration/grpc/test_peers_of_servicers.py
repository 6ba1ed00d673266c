"""The address of a caller as a servicer sees it, and the addresses at which a server listens: as in grpcio."""

import re
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.both_servers import STACKS, STYLES, ask, served
from tests.support.ports import has_ipv6

pytestmark = pytest.mark.one_loop


HOSTS = ("127.0.0.1", "[::1]") if has_ipv6() else ("127.0.0.1",)
BOUND = ("0.0.0.0:0", "[::]:0", *(f"{host}:0" for host in HOSTS))


def noting(style: str, notes: list[str]) -> Any:
    """Return a handler that notes the address of its caller, without the number of the port."""

    def in_thread(request: bytes, context: Any) -> bytes:
        notes.append(re.sub(r":\d+$", ":port", context.peer()))
        return request

    async def on_loop(request: bytes, context: Any) -> bytes:
        return in_thread(request, context)

    return in_thread if style == "thread" else on_loop


def peers_at(stack: str, style: str, address: str) -> dict[str, list[str]]:
    """Listen at an address; return by the host at which it is called the caller's address, or no address."""
    found: dict[str, list[str]] = {}
    for host in HOSTS:
        notes = found[host] = []
        with served(stack, style, {"unary": noting(style, notes)}, address=address) as target:
            status = ask(f"{host}:{target.rpartition(':')[2]}", "unary")[1]
            assert status == ("OK" if notes else "UNAVAILABLE")
    return found


@pytest.mark.parametrize("address", BOUND)
@pytest.mark.parametrize("style", STYLES)
def test_a_caller_has_the_address_that_grpcio_tells(style: str, address: str) -> None:
    assert peers_at("ours", style, address) == peers_at("grpcio", style, address)


@pytest.mark.parametrize("style", STYLES)
def test_a_caller_at_a_unix_socket_has_no_address(style: str, tmp_path: Path) -> None:
    found: dict[str, list[str]] = {}
    for stack in STACKS:
        notes = found[stack] = []
        place = f"unix:{tmp_path}/{stack}"
        with (
            served(stack, style, {"unary": noting(style, notes)}, address=place),
            grpc.insecure_channel(place) as channel,
        ):
            assert channel.unary_unary("/test/unary")(b"a", timeout=20) == b"a"
    assert found["ours"] == found["grpcio"] == ["unix:"]
