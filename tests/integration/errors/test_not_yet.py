"""What a later version will do is refused or named by this one, and never taken without effect."""

import re
import tomllib
import warnings
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ConfigError,
    Server,
    Status,
    SyncClient,
)
from fastrpc.testing import connected

pytestmark = pytest.mark.one_loop

NOWHERE = "tcp://127.0.0.1:9"

#: What takes arguments that only a later version acts upon, with their defaults.
LATER: dict[str, tuple[Callable[..., object], dict[str, object]]] = {
    "Client": (partial(Client, NOWHERE), {}),
    "SyncClient": (partial(SyncClient, NOWHERE), {}),
    "Server": (Server, {}),
    "App": (partial(fastrpc.App, []), {}),
    "serve": (fastrpc.serve, {}),
    "method": (fastrpc.method, {}),
    "service": (partial(fastrpc.service, "arith"), {}),
}


@pytest.mark.parametrize("owner", sorted(LATER.keys() - {"serve"}))
def test_an_argument_of_a_later_version_is_taken_at_its_default(owner: str) -> None:
    make, defaults = LATER[owner]
    assert make(**defaults) is not None
    for name, default in defaults.items():
        assert make(**{name: default}) is not None


def test_serve_takes_the_defaults_of_later_arguments_before_it_looks_at_the_rest() -> None:
    with pytest.raises(ConfigError, match="workers is 0"):
        fastrpc.serve(workers=0, **LATER["serve"][1])  # type: ignore[arg-type]


@pytest.mark.parametrize("owner", LATER)
def test_an_argument_of_a_later_version_is_refused_without_being_shown(owner: str) -> None:
    make, defaults = LATER[owner]
    for name in defaults:
        with pytest.raises(ConfigError, match=rf"^{name} is given to .*\byet\b") as refused:
            make(**{name: "secret"})
        assert "secret" not in str(refused.value)
        assert refused.value.hint == f"leave {name} out"


@pytest.mark.parametrize("owner", LATER)
def test_an_argument_that_there_is_not_stays_a_type_error(owner: str) -> None:
    with pytest.raises(TypeError, match="colour"):
        LATER[owner][0](colour="red")


def test_defaults_written_out_are_taken() -> None:
    for kind in (Client, SyncClient):
        assert kind(NOWHERE).with_options(priority=0).priority == 0
        assert kind(NOWHERE).with_options(priority=None).priority == 0

    @fastrpc.method(public=False)
    def mul(self: Any, a: int) -> int:
        return a


def test_every_extra_is_used_by_the_package() -> None:
    root = Path(fastrpc.__file__).parent
    sources = "\n".join(path.read_text() for path in root.rglob("*.py"))
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = {
        name
        for name in project["optional-dependencies"]
        if name not in {"bench", "dev", "services", "standard", "all"}
    }
    modules = {
        "cli": "typer",
        "consul": "consul",
        "dns": "dns",
        "jwt": "jwt",
        "otel": "opentelemetry",
        "otel-sdk": "opentelemetry.sdk",
        "protobuf": "fastrpc.codecs.protobuf",
        "zstd": "zstd",
    }
    assert extras == modules.keys()
    for module in modules.values():
        assert re.search(rf"import {module}|from {module}|\"{module}", sources), module


def test_the_readme_names_every_extra_and_all_has_those_that_need_no_choice() -> None:
    root = Path(__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    install = (root / "README.md").read_text().partition("## Install")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z-]+)`", install)) >= extras.keys()
    (everything,) = extras["all"]
    parts = set(everything.removeprefix("fastrpc[").removesuffix("]").split(","))
    # Programs choose their SDK and its exporter themselves.
    assert parts == extras.keys() - {"all", "bench", "dev", "otel-sdk", "services", "standard"}


# Streams


@fastrpc.service("feed")
class Feed:
    @fastrpc.method
    async def latest(self) -> int:
        return 42

    @fastrpc.method
    async def follow(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])


@fastrpc.service("chat")
class Chat:
    @fastrpc.method
    async def talk(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        async for message in messages:
            yield message


async def test_services_with_streams_are_served_without_a_warning() -> None:
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        async with connected(Feed, Chat) as client:
            assert await client.call(Feed.latest) == 42
            for name in ("feed.follow", "feed.total", "chat.talk"):
                with pytest.raises(CallError, match=r"write client\.(call|stream)\(") as refused:
                    await client.call(name, 3)
                assert refused.value.status is Status.INVALID_ARGUMENT
                assert refused.value.processed == "no"
    assert not [one for one in noted if "streams" in str(one.message)]


# Services without methods


@fastrpc.service("forgotten")
class Forgotten:
    async def mul(self, a: int, b: int) -> int:
        return a * b

    def _hidden(self) -> None: ...


@fastrpc.service("empty")
class Empty: ...


@fastrpc.service("heir")
class Heir(Forgotten): ...


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (Forgotten, "above mul"),
        (Forgotten(), "above mul"),
        (Empty, "above each function"),
        (Heir, "@fastrpc.method"),
    ],
)
async def test_a_service_without_a_method_is_refused(source: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=rf"without a method.*{advice}"):
        await Server(source).start()
    async with Server() as server:
        with pytest.raises(ConfigError, match=r"without a method"):
            server.add(source() if isinstance(source, type) else source)
