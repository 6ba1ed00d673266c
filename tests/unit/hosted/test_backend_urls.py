"""Backends in memory by their name."""

import asyncio
from types import TracebackType
from typing import Self

import pytest

from fastrpc import TLS, ConfigError
from fastrpc.hosted.backend_urls import NamedBackends
from fastrpc.registries.base.urls import RegistryURL


class Slow:
    """Opens and closes in several turns of the loop; the first openings may fail."""

    made = 0
    open = 0
    failures = 0

    def __init__(self) -> None:
        type(self).made += 1

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0)
        if type(self).failures:
            type(self).failures -= 1
            raise LookupError
        type(self).open += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.sleep(0)
        type(self).open -= 1


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("made", "open", "failures"):
        monkeypatch.setattr(Slow, name, 0)


async def test_openings_at_one_moment_share_a_backend() -> None:
    named = NamedBackends("store", Slow)
    inside = asyncio.Barrier(3)
    seen: set[Slow] = set()

    async def use() -> None:
        async with named.open(RegistryURL("memory://a")) as backend:
            seen.add(backend)
            await inside.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(use())
    assert (len(seen), Slow.made, Slow.open) == (1, 1, 0)


async def test_another_opening_follows_a_failed_opening() -> None:
    named = NamedBackends("store", Slow)
    Slow.failures = 1
    with pytest.raises(LookupError):
        async with named.open(RegistryURL("memory://a")):
            pass
    async with named.open(RegistryURL("memory://a")):
        states = [Slow.open]
    assert ([*states, Slow.open], Slow.made) == ([1, 0], 2)


@pytest.mark.parametrize("text", ["memory://", "memory://a/b"])
def test_url_without_a_plain_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not the name of a store \(write memory://name\)"):
        NamedBackends("store", Slow).open(RegistryURL(text))


def test_certificates_are_refused_where_there_is_no_connection() -> None:
    with pytest.raises(ConfigError, match=r"memory://a has no connection .*leave tls out"):
        NamedBackends("store", Slow).open(RegistryURL("memory://a", TLS()))
