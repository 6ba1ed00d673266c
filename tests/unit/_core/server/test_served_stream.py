"""The stream of a served call and the stepper of its generator, without a client that reads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc._core.server.served_stream import OnLoop, throw_at_yield


class TestInlineGenerators:
    async def test_messages_come_one_by_one(self) -> None:
        assert [number async for number in OnLoop(range(3))] == [0, 1, 2]

    async def test_error_of_the_generator_is_raised(self) -> None:
        def broken() -> Iterator[int]:
            yield 1
            raise KeyError("broken")

        seen = []
        with pytest.raises(KeyError, match="broken"):
            async for number in OnLoop(broken()):
                seen.append(number)
        assert seen == [1]

    async def test_cancellation_is_raised_at_its_yield(self) -> None:
        seen: list[type[BaseException]] = []

        def watching() -> Iterator[int]:
            try:
                yield 1
            except BaseException as error:
                seen.append(type(error))
                raise

        messages = OnLoop(watching())
        assert await anext(messages) == 1
        await messages.athrow(asyncio.CancelledError())
        await messages.aclose()
        assert seen == [asyncio.CancelledError]

    async def test_generator_is_closed(self) -> None:
        ends: list[str] = []

        def watching() -> Iterator[int]:
            try:
                yield 1
            finally:
                ends.append("finally")

        messages = OnLoop(watching())
        await anext(messages)
        await messages.aclose()
        assert ends == ["finally"]

    async def test_iterator_that_is_no_generator_is_taken(self) -> None:
        messages = OnLoop(iter([1, 2]))
        assert await anext(messages) == 1
        await messages.athrow(asyncio.CancelledError())
        await messages.aclose()

    def test_a_result_that_cannot_be_iterated_is_refused(self) -> None:
        with pytest.raises(TypeError):
            OnLoop(5)


class TestCancellation:
    async def test_generator_that_the_exception_ends_is_done(self) -> None:
        ends: list[str] = []

        async def watching() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                ends.append("finally")

        messages = watching()
        await anext(messages)
        await throw_at_yield(messages)
        assert ends == ["finally"]

    async def test_generator_that_swallows_the_exception_is_done(self) -> None:
        async def swallowing() -> AsyncIterator[int]:
            try:
                yield 1
            except asyncio.CancelledError:
                return

        messages = swallowing()
        await anext(messages)
        await throw_at_yield(messages)
        with pytest.raises(StopAsyncIteration):
            await anext(messages)

    async def test_error_that_it_raises_instead_goes_on(self) -> None:
        async def failing() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                raise KeyError("in finally")

        messages = failing()
        await anext(messages)
        with pytest.raises(KeyError, match="in finally"):
            await throw_at_yield(messages)

    @pytest.mark.parametrize("messages", [object(), iter([1])])
    async def test_iterator_without_throw_is_left_alone(self, messages: Any) -> None:
        await throw_at_yield(messages)
