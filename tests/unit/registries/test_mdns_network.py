"""Names that are announced by multicast DNS without their texts."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc.registries import mdns
from fastrpc.registries.mdns import TYPE, MdnsNetwork

TEXT = {b"service": b"arith", b"record0": b"{}"}


class Info:
    """A name whose text comes when the test says so, or is known by then."""

    def __init__(self, service_type: str, name: str) -> None:
        self.properties: dict[bytes, bytes] = TEXT if name.startswith("known") else {}
        self.is_answered = asyncio.Event()
        asked[name] = self

    def load_from_cache(self, zeroconf: Any) -> bool:
        return bool(self.properties)

    async def async_request(self, zeroconf: Any, milliseconds: float) -> bool:
        await self.is_answered.wait()
        return bool(self.properties)

    def answer(self, text: dict[bytes, bytes]) -> None:
        self.properties = text
        self.is_answered.set()


asked: dict[str, Info] = {}
package = SimpleNamespace(
    ServiceStateChange=SimpleNamespace(Added=1, Removed=2), Error=OSError, ServiceInfo=Info
)


class Browser:
    """The network, and its browser in the thread of the test."""

    def __init__(self) -> None:
        asked.clear()
        self.network = MdnsNetwork(package, None)
        self._zeroconf = SimpleNamespace(loop=asyncio.get_running_loop())

    def tell(self, name: str, change: int = package.ServiceStateChange.Added) -> None:
        self.network._note(self._zeroconf, TYPE, name, change)

    async def listed(self) -> list[str]:
        # Answers arrive by callbacks of the loop.
        for _ in range(5):
            await asyncio.sleep(0)
        return [name for name, _ in self.network.records(["arith"])["arith"]]


async def test_name_without_text_is_asked_for_aside() -> None:
    browser = Browser()
    browser.tell("silent")
    browser.tell("known")
    assert await browser.listed() == ["known"]
    asked["silent"].answer(TEXT)
    assert await browser.listed() == ["silent", "known"]


async def test_answer_for_a_name_that_has_gone_or_came_anew_is_dropped() -> None:
    browser = Browser()
    browser.tell("gone")
    browser.tell("gone", package.ServiceStateChange.Removed)
    browser.tell("anew")
    first = asked["anew"]
    browser.tell("anew")
    asked["gone"].answer(TEXT)
    first.answer(TEXT)
    assert await browser.listed() == []
    asked["anew"].answer(TEXT)
    assert await browser.listed() == ["anew"]


async def test_few_texts_are_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdns, "MOST_ASKED", 2)
    browser = Browser()
    for number in range(3):
        browser.tell(f"silent-{number}")
    for info in asked.values():
        info.answer(TEXT)
    assert await browser.listed() == ["silent-1", "silent-0"]
