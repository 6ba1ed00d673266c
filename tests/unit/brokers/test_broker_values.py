"""Values of any size and any characters at a broker in a folder: kept, or refused alone."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastrpc.brokers.base import (
    GroupSettings,
    OutgoingMessage,
    TopicSettings,
)
from fastrpc.brokers.base.texts import kept_text
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status
from tests.support.broker_folder import GROUP, LOG, Times, publish, stopped


def len_of(value: int) -> str:
    """Return the name of a test with a whole number."""
    return f"{value.bit_length()} bits"


@pytest.mark.parametrize("place", [2**63 - 1, 2**63, 9_999_999_999_999_999_999, 2**70, 10**5000], ids=len_of)
async def test_a_place_of_any_size_is_kept_or_refused(folder: Path, times: Times, place: int) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await broker.join(GROUP)
        with contextlib.suppress(ConfigError):
            await broker.seek("g", place)
        with contextlib.suppress(ConfigError):
            await broker.join(GroupSettings("other", "a", place))
        await publish(broker, b"1")


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64, 10**30, 10**5000], ids=len_of)
@pytest.mark.parametrize("option", ["max_bytes", "keep_seconds", "dedupe_seconds"])
async def test_a_setting_of_any_size_is_kept_or_refused(
    folder: Path, times: Times, option: str, value: int
) -> None:
    topic = replace(TopicSettings("b"), **{option: value})
    for _ in range(2):
        async with stopped(folder, times) as broker:
            await broker.declare(LOG)
            with contextlib.suppress(ConfigError):
                await broker.declare(topic)
                assert getattr((await broker.topics())[1], option) == pytest.approx(value)
            await publish(broker, b"1")


@pytest.mark.parametrize("text", ["\ud800", "x" * 5_000 + "\udfff", "\x00", "é" * 5_000])
async def test_a_reason_and_an_error_of_any_characters_are_kept(
    folder: Path, times: Times, text: str
) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await publish(broker, b"1")
        (one,) = await member.take(1)
        assert await member.reject(one.token, text, text)
        before = await broker.dead_letters("g")
        await publish(broker, b"2")
    async with stopped(folder, times) as broker:
        assert await broker.dead_letters("g") == before
        assert (before[0].reason, before[0].error) == (kept_text(text), kept_text(text))


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "\ud800"},
        {"id": "\ud800"},
        {"publisher": "\ud800"},
        {"headers": {"\ud800": ""}},
        {"headers": {"x": "\ud800"}},
    ],
)
async def test_a_message_with_a_text_that_is_no_utf_8_is_refused(
    folder: Path, times: Times, fields: dict[str, Any]
) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        with pytest.raises(BrokerError, match="has a text that is not UTF-8") as caught:
            await broker.publish([OutgoingMessage("a", b"1", **fields)])
        assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")
        await publish(broker, b"2")
