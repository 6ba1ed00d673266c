"""Applications of ASGI are distinguished from services, classes and functions that make services."""

import functools
from typing import Any

import pytest

import fastrpc
from fastrpc.handlers.applications import is_application, makes_application


class Site:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Configured:
    async def __call__(self, scope: Any, receive: Any, send: Any, *, debug: bool = False) -> None: ...


@fastrpc.service("odd")
class Odd:
    """A service that can be called."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


async def plain(scope: Any, receive: Any, send: Any) -> None: ...


def two(scope: Any, receive: Any) -> None: ...


def any_of_them(*arguments: Any) -> None: ...


def by_name(*, scope: Any, receive: Any, send: Any) -> None: ...


def of_four(name: str, scope: Any, receive: Any, send: Any) -> None: ...


def make() -> Site:
    return Site()


def make_services() -> list[Odd]:
    return [Odd()]


def make_something() -> Any:
    return Site()


def make_by_name(name: str) -> Site:
    return Site()


@pytest.mark.parametrize(
    "thing", [Site(), Configured(), plain, functools.partial(of_four, "a"), Site().__call__]
)
def test_callables_of_three_positional_arguments_are_applications(thing: Any) -> None:
    assert is_application(thing)


@pytest.mark.parametrize(
    "thing", [Site, Odd(), Odd, two, any_of_them, by_name, of_four, make, [plain], "plain", None]
)
def test_other_things_are_no_applications(thing: Any) -> None:
    assert not is_application(thing)


def make_none() -> "typing.Nope":  # type: ignore[name-defined]  # noqa: F821
    return Site()


def make_one_or_none() -> "1 / 0":  # type: ignore[valid-type]
    return Site()


def test_a_function_makes_an_application_by_its_annotation() -> None:
    assert makes_application(make)
    for thing in (
        make_services,
        make_something,
        make_by_name,
        make_none,
        make_one_or_none,
        Site,
        Site(),
        plain,
    ):
        assert not makes_application(thing)
