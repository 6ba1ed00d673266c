"""The names of all services of a registry, followed."""

import asyncio
import itertools
import threading
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint, StoreError
from fastrpc.registries import StaticRegistry
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.names import ASK_SECONDS, NamesPoller
from fastrpc.registries.base.rules import CONFIRM_SECONDS
from fastrpc.registries.base.watch import Latest
from tests.support.fake_registry import away


class Driven:
    """A poller that a test drives step by step."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.worked = 0.0
        self.channel: Latest[tuple[str, ...]] = Latest(itertools.count(1))
        self.poller = NamesPoller(
            self._ask,
            self.channel,
            work_clock=lambda: self.worked,
            uniform=lambda low, high: (low + high) / 2,
        )

    def _ask(self) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def steps(self, count: int) -> list[tuple[str, ...] | None]:
        shown = []
        for _ in range(count):
            self.poller.step()
            shown.append(self.channel.latest)
        return shown


def test_names_are_sorted_once_each_and_valid() -> None:
    assert Driven(["b", "", "a\x1b[2J", "a", "b"]).steps(1) == [("a", "b")]


def test_a_name_that_is_missing_once_stays() -> None:
    assert Driven(["a", "b"], ["a"], ["a", "b"]).steps(3) == [("a", "b")] * 3


def test_a_name_that_is_missing_twice_goes_and_a_new_one_comes_at_once() -> None:
    assert Driven(["a", "b"], ["a", "c"], ["a", "c"]).steps(3) == [("a", "b"), ("a", "b", "c"), ("a", "c")]


def test_no_names_at_first_are_believed_at_the_second_look() -> None:
    driven = Driven([])
    assert driven.poller.step() == CONFIRM_SECONDS
    assert driven.channel.latest is None
    assert driven.poller.step() == ASK_SECONDS
    assert driven.channel.latest == ()


def test_names_stay_while_the_registry_is_unreachable() -> None:
    driven = Driven(["a"], away(), away(), ["a"])
    driven.steps(1)
    pauses = [driven.poller.step() or 0.0 for _ in range(2)]
    assert pauses == sorted(pauses)
    assert driven.channel.latest == ("a",)
    assert isinstance(driven.channel.error, StoreError)
    driven.steps(1)
    assert driven.channel.error is None


def test_names_that_took_long_are_asked_for_less_often() -> None:
    driven = Driven(["a"])
    ask = driven._ask

    def slow() -> Any:
        driven.worked += 1.0
        return ask()

    driven.poller._ask = slow
    assert driven.poller.step() == 20.0


class Backend:
    """A registry with names; its services have no endpoints."""

    def __init__(self, *names: str, failure: Exception | None = None) -> None:
        self.names = names
        self.failure = failure

    def open_lookup(self, service: str) -> Any:
        raise NotImplementedError

    def open_lease(self, service: str, endpoint: Endpoint) -> Any:
        raise NotImplementedError

    def list_services(self) -> tuple[str, ...]:
        if self.failure is not None:
            raise self.failure
        return self.names

    def close(self) -> None:
        pass


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("fastrpc registry names at fake:")]


def test_watches_share_a_thread_that_ends_with_the_last() -> None:
    with BackedRegistry(Backend("b", "a"), "fake://registry") as registry:
        one, two = registry.watch_services(), registry.watch_services()
        assert one.wait(20) == two.wait(20) == ("a", "b")
        [thread] = threads()
        one.close()
        assert two.latest == ("a", "b")
        two.close()
        thread.join(20)
        assert not thread.is_alive()
        again = registry.watch_services()
        assert again.wait(20) == ("a", "b")
    assert again.wait(20) is None
    assert threads() == []


async def test_closing_the_registry_ends_the_iteration() -> None:
    registry = BackedRegistry(Backend("a"), "fake://registry")
    seen = []
    async for names in registry.watch_services():
        seen.append(names)
        registry.close()
    assert seen == [("a",)]
    with pytest.raises(RuntimeError, match="closed"):
        registry.watch_services()


async def test_a_registry_without_names_ends_the_watch_with_its_error() -> None:
    failure = ConfigError("it cannot list its services")
    with BackedRegistry(Backend(failure=failure), "fake://registry") as registry:
        with pytest.raises(ConfigError, match="cannot list"):
            await anext(registry.watch_services())
        with pytest.raises(ConfigError, match="cannot list"):
            await asyncio.to_thread(registry.watch_services().wait, 20)


def test_static_names_are_those_with_endpoints() -> None:
    with StaticRegistry({"b": ["tcp://h:1"]}) as registry, registry.watch_services() as watch:
        assert watch.wait(0) == ("b",)
        registry.update("a", ["tcp://h:2"])
        assert watch.wait(0) == ("a", "b")
        registry.update("b", [])
        assert watch.wait(0) == ("a",)
        registry.update("a", ["tcp://h:3"])
        assert watch.wait(0) is None
