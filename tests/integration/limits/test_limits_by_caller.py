"""Limits of each caller: by its proved name, for both clients, over any number of connections."""

import pytest

import fastrpc
from fastrpc import OverloadedError, Server
from fastrpc.limits import ConcurrencyLimit, RateLimit
from tests.support.either_client import CLIENTS
from tests.support.guarded import TOKENS, Shop, calling, guarded

ADA, BOB = "token-of-ada", "token-of-bob"
#: So few calls that no test sees another one become free.
RARE = 0.001


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_rate_counts_all_connections_of_a_caller(kind: str) -> None:
    limits = [RateLimit(RARE, 2, per="identity", methods="shop.*")]
    async with guarded(Shop, limits=limits) as target:
        for token, name in ((ADA, "ada"), (BOB, "bob")):
            for _ in range(2):
                async with calling(kind, target, credentials=token, fail_mode="failfast") as client:
                    assert await client.call(Shop.who) == name
            async with calling(kind, target, credentials=token, fail_mode="failfast") as client:
                with pytest.raises(OverloadedError, match="per identity") as refused:
                    await client.call(Shop.who)
                assert refused.value.processed == "no"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_credential_of_a_call_counts_for_the_caller_whom_it_names(kind: str) -> None:
    limits = [RateLimit(RARE, 1, per="identity")]
    async with guarded(Shop, limits=limits) as target:
        async with calling(kind, target, credentials=BOB, fail_mode="failfast") as client:
            as_ada = client.with_options(metadata={"authorization": f"Bearer {ADA}"})
            assert (await as_ada.call(Shop.who), await client.call(Shop.who)) == ("ada", "bob")
            for view in (as_ada, client):
                with pytest.raises(OverloadedError):
                    await view.call(Shop.who)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_callers_without_an_identity_share_a_count_for_any_metadata(kind: str) -> None:
    limits = [RateLimit(RARE, 1, per="metadata:tenant")]
    async with guarded(Shop, limits=limits) as target:
        async with calling(kind, target, fail_mode="failfast") as client:
            assert await client.with_options(metadata={"tenant": "one"}).call(Shop.hello) == "nobody"
            with pytest.raises(OverloadedError):
                await client.with_options(metadata={"tenant": "two"}).call(Shop.hello)
        async with calling(kind, target, credentials=ADA, fail_mode="failfast") as client:
            for tenant in ("one", "two"):
                assert await client.with_options(metadata={"tenant": tenant}).call(Shop.who) == "ada"


async def test_streams_in_progress_count_for_their_caller() -> None:
    limits = [ConcurrencyLimit(1, per="identity", methods="shop.both")]
    async with guarded(Shop, limits=limits) as target:
        async with calling("async", target, credentials=ADA, fail_mode="failfast") as client:
            async with client.open(Shop.both) as first:
                await first.send(1)
                assert await first.receive() == 1
                async with client.open(Shop.both) as second:
                    with pytest.raises(OverloadedError):
                        await second.receive()
            async with calling("async", target, credentials=BOB) as other, other.open(Shop.both) as third:
                await third.send(2)
                assert await third.receive() == 2


@pytest.mark.parametrize("make", [fastrpc.serve, Server])
def test_a_limit_by_caller_needs_callers_that_are_known(make: object) -> None:
    assert callable(make)
    with pytest.raises(fastrpc.ConfigError, match="authenticate is not given"):
        make(Shop, limits=[RateLimit(1, 1, per="identity")])
    Server(Shop, limits=[RateLimit(1, 1, per="identity")], authenticate=TOKENS)
