"""Errors that fail themselves, and other ways in which a handler could take its connection along."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from fastrpc import CallError, Client, ServerConfig, Status, method, service
from tests.support.served import Served, served

pytestmark = pytest.mark.one_loop


class Abandoned(BaseException):
    """As raised by libraries that do not want to be caught."""


class Picky(msgspec.Struct):
    """A type whose own check has a mistake."""

    name: str

    def __post_init__(self) -> None:
        {"known": 1}[self.name]


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@service("faulty")
class Faulty:
    @method
    async def echo(self, number: int) -> int:
        await asyncio.sleep(0.02)
        return number

    @method
    async def pick(self, what: Picky) -> str:
        return what.name

    @method
    async def refuse(self, kind: str) -> None:
        error = CallError(Status.NOT_FOUND, "not here")
        # An attribute can be set to a value that the class would refuse.
        name, part = {
            "details": ("details", {"number": 2**70}),
            "never": ("retry_after", float("inf")),
            "no number": ("retry_after", float("nan")),
        }[kind]
        setattr(error, name, part)
        raise error

    @method
    async def refuse_with_ok(self) -> None:
        error = CallError(Status.ABORTED, "all is well")
        error.status = Status.OK
        raise error

    @method
    async def abandon(self, suspended: bool) -> None:
        if suspended:
            await asyncio.sleep(0)
        raise Abandoned

    @method
    async def choke(self) -> None:
        raise SpeechlessError

    @method(inline=True)
    def abandon_inline(self) -> None:
        raise Abandoned

    @method
    def abandon_in_thread(self) -> None:
        raise Abandoned


@pytest.fixture
async def target() -> AsyncIterator[Served]:
    async with served(Faulty()) as target:
        yield target


async def fails_alone(target: Served, method: Any, *arguments: Any) -> CallError:
    """Make a call that fails next to a call that succeeds; neither may leave state."""
    async with Client(target) as client:
        await client.call(Faulty.echo, 0)
        beside = asyncio.create_task(client.call(Faulty.echo, 7))
        await asyncio.sleep(0)
        with pytest.raises(CallError) as caught:
            await client.call(method, *arguments)
        assert await beside == 7
        assert target.server._gate is not None
        assert target.server._gate.running == 0
        return caught.value


@pytest.mark.parametrize("kind", ["details", "never", "no number"])
async def test_an_error_with_a_part_that_cannot_be_encoded_is_sent_without_it(
    target: Served, kind: str
) -> None:
    error = await fails_alone(target, Faulty.refuse, kind)

    assert (error.status, error.message, error.details) == (Status.NOT_FOUND, "not here", None)


async def test_an_error_is_never_ok(target: Served) -> None:
    assert (await fails_alone(target, Faulty.refuse_with_ok)).status is Status.UNKNOWN


@pytest.mark.parametrize("suspended", [False, True])
async def test_a_raised_object_that_is_no_exception_ends_only_its_call(
    target: Served, suspended: bool
) -> None:
    assert (await fails_alone(target, Faulty.abandon, suspended)).status is Status.INTERNAL


@pytest.mark.parametrize("handler", [Faulty.abandon_inline, Faulty.abandon_in_thread])
async def test_a_raised_object_that_is_no_exception_ends_only_its_call_without_a_task(
    target: Served, handler: Any
) -> None:
    assert (await fails_alone(target, handler)).status is Status.INTERNAL


async def test_a_type_that_fails_while_it_is_decoded_fails_only_its_call(target: Served) -> None:
    async with Client(target) as client:
        assert await client.call("faulty.pick", {"name": "known"}) == "known"

    error = await fails_alone(target, "faulty.pick", {"name": "unknown"})

    assert (error.status, error.processed) == (Status.INTERNAL, "no")


async def test_an_error_without_a_text_is_sent_without_one() -> None:
    async with served(Faulty(), config=ServerConfig(expose_errors=True)) as target:
        assert (await fails_alone(target, Faulty.choke)).status is Status.INTERNAL
