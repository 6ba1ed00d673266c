"""Callers that are refused."""

from pathlib import Path

from fastrpc import Client, Server
from fastrpc.auth import JWT, Identity, Policy, StaticTokens
from fastrpc.testing import connected
from tests.support.mistakes.shop import Guarded, Raisers, Shop, added_to, started

__all__ = ["RAISERS"]

RAISERS: Raisers = []
raises = added_to(RAISERS)

TOKENS = StaticTokens({"token": Identity("ada")})


@raises
async def no_credential(_: Path) -> None:
    async with Server(Shop, authenticate=TOKENS) as server:
        async with Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
            await client.call(Shop.price, "tea")


@raises
async def a_wrong_token(_: Path) -> None:
    async with Server(Shop, authenticate=TOKENS) as server:
        async with Client(str(await server.listen("tcp://127.0.0.1:0")), credentials="other") as client:
            await client.call(Shop.price, "tea")


@raises
async def a_missing_role(_: Path) -> None:
    async with connected(Guarded(), identity=Identity("ada")) as client:
        await client.call(Guarded.close)


@raises
async def roles_without_authentication(_: Path) -> None:
    await started(Guarded)


@raises
async def a_token_in_the_clear(_: Path) -> None:
    async with Client("tcp://192.0.2.1:8972", credentials="token") as client:
        await client.call(Shop.price, "tea")


@raises
def a_secret_that_is_short(_: Path) -> None:
    JWT("short", issuer="a", audience="b", algorithms=["HS256"])


@raises
def an_empty_name(_: Path) -> None:
    Identity("")


@raises
def an_unknown_key_in_a_policy(folder: Path) -> None:
    (folder / "policy.toml").write_text('[[rule]]\nwho = ["ada"]\nallows = ["shop.*"]\n')
    Policy.from_file(folder / "policy.toml")


@raises
async def an_unknown_method_in_a_policy(_: Path) -> None:
    policy = Policy([{"who": ["ada"], "allow": ["shop.prise"]}])
    await started(Shop, authenticate=TOKENS, authorize=policy)
