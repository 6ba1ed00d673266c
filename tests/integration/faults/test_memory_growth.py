"""Memory stays flat over many calls and connections."""

from pathlib import Path

import pytest

from tests.conftest import Scale
from tests.support.program import Program

ROOT = Path(__file__).parents[3]
KIB = 1024

pytestmark = pytest.mark.measures


def growth(kind: str, warm_up: int, count: int, loop: str, wire: str = "native") -> int:
    """Return by how many bytes a process grew from its `warm_up`-th to its `count`-th action."""
    arguments = ["-m", "tests.support.memory_growth", kind, str(warm_up), str(count), loop, wire]
    with Program(arguments, ROOT) as program:
        ended = program.wait(600)
    assert ended.code == 0, ended
    return int(ended.output)


def sizes(scale: Scale) -> tuple[int, int, int]:
    """Return warm-up, count and the growth allowed: always one that 16 bytes a call would exceed.

    A heap reaches its highest step within some 20,000 calls; from there on 120,000 cancelled ones added 64 KiB.
    """
    warm_up, count = (200_000, 1_000_000) if scale.factor >= 10 else (25_000, 25_000 + scale(25_000))
    return warm_up, count, min(1024 * KIB, 10 * (count - warm_up))


@pytest.mark.parametrize(
    ("kind", "loop"),
    [
        *((kind, "asyncio") for kind in ("quick", "slow", "refused", "expired", "notified", "batch")),
        *((kind, "uvloop") for kind in ("quick", "cancelled")),
    ],
)
def test_calls_leak_nothing(kind: str, loop: str, scale: Scale) -> None:
    warm_up, count, allowed = sizes(scale)
    assert growth(kind, warm_up, count, loop) <= allowed


def test_sixteen_bytes_a_call_would_be_seen(scale: Scale) -> None:
    warm_up, count, allowed = sizes(scale)
    assert growth("leaking", warm_up, count, "asyncio") > allowed


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_connections_leak_nothing(loop: str, scale: Scale) -> None:
    if scale.factor >= 10:
        assert growth("reconnected", 2_000, 10_000, loop) <= 1024 * KIB
    else:
        assert growth("reconnected", 500, 500 + scale(500), loop) <= 384 * KIB


@pytest.mark.parametrize("kind", ["quick", "slow", "refused"])
def test_calls_by_grpc_leak_nothing(kind: str, scale: Scale) -> None:
    warm_up, count, allowed = sizes(scale)
    assert growth(kind, warm_up, count, "uvloop", "grpc") <= allowed


@pytest.mark.parametrize(("kind", "warm_up"), [("reconnected", 500), ("channel", 3_000)])
def test_channels_of_grpc_leak_nothing(kind: str, warm_up: int, scale: Scale) -> None:
    count, allowed = (10_000, 1024 * KIB) if scale.factor >= 10 else (scale(500), 384 * KIB)
    assert growth(kind, warm_up, warm_up + count, "uvloop", "grpc") <= allowed
