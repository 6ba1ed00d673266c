"""Functions that are given as credentials and have no token."""

import asyncio
import traceback
from typing import Any

import pytest

import fastrpc
from tests.support.either_client import CLIENTS
from tests.support.guarded import Shop, calling, guarded

pytestmark = pytest.mark.one_loop

ADA_TOKEN = "token-of-ada"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_failing_function_fails_the_call_without_its_text(kind: str) -> None:
    def credentials() -> str:
        raise ValueError("planted-5ecret")

    async with guarded(Shop) as target, calling(kind, target, credentials=credentials) as client:
        with pytest.raises(fastrpc.ConnectError, match="cannot get the credentials") as caught:
            await client.call(Shop.who)
        # Nor with the cause, which a log of the error shows.
        assert "planted" not in "".join(traceback.format_exception(caught.value))
        assert "call it to see why" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_credentials_function_without_a_token_fails_with_a_hint(kind: str) -> None:
    def credentials() -> Any:
        return None

    async def waiting() -> str:
        await asyncio.sleep(0)
        return ADA_TOKEN

    async with guarded(Shop) as target:
        async with calling(kind, target, credentials=credentials) as client:
            with pytest.raises(
                fastrpc.ConnectError, match="they are a NoneType, a token must be text"
            ) as caught:
                await client.call(Shop.who)
            assert "give a token" in (caught.value.hint or "")
        async with calling(kind, target, credentials=waiting) as client:
            if kind == "async":
                assert await client.call(Shop.who) == "ada"
            else:
                with pytest.raises(fastrpc.ConnectError, match="a SyncClient has no event loop") as caught:
                    await client.call(Shop.who)
                assert caught.value.hint == "give it a plain function"


async def waits_for_a_cancelled_task() -> str:
    # As one that fetches tokens for all dials, after the end of the one that waited for it.
    fetching = asyncio.get_running_loop().create_future()
    fetching.cancel()
    return str(await fetching)


async def waits_for_ever() -> str:
    return str(await asyncio.get_running_loop().create_future())


@pytest.mark.parametrize(
    ("credentials", "text"),
    [
        (waits_for_a_cancelled_task, "cannot get the credentials: CancelledError"),
        (waits_for_ever, r"no credentials for tcp://.* within 0\.05 s"),
    ],
)
async def test_a_function_that_waits_too_long_fails_the_dial(credentials: Any, text: str) -> None:
    config = fastrpc.ClientConfig(timeouts=fastrpc.Timeouts(connect=0.05))
    async with guarded(Shop) as target:
        async with fastrpc.Client(target, credentials=credentials, config=config) as client:
            with pytest.raises(fastrpc.ConnectError, match=text):
                await client.call(Shop.who)
