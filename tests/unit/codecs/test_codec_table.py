"""Finding codecs by name and by number, built in and installed."""

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from fastrpc.codecs import base
from fastrpc.codecs.base import Payload, codec_named, codec_names, codec_numbers, codec_with_id
from fastrpc.errors import ConfigError

Install = Callable[[dict[str, str]], None]


class UpperCodec:
    name = "upper"
    wire_id = 64

    def encode(self, value: Any) -> bytes:
        return str(value).upper().encode()

    def decode(self, payload: Payload, type: Any = Any) -> Any:
        return bytes(payload).decode()

    def encoder(self) -> Callable[[Any], bytes]:
        return self.encode

    def decoder(self, type: Any = Any) -> Callable[[Payload], Any]:
        return self.decode


class GreedyCodec(UpperCodec):
    name = "greedy"
    wire_id = 1


upper_object = UpperCodec()


def forget_codecs() -> None:
    for cached in (codec_named, base._installed, codec_numbers):
        cached.cache_clear()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Pretends that packages offer codecs: name -> attribute of this module."""

    def install(codecs: dict[str, str]) -> None:
        found = [
            EntryPoint(name, f"{__name__}:{attribute}", base.ENTRY_POINT_GROUP)
            for name, attribute in codecs.items()
        ]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found)
        forget_codecs()

    yield install
    forget_codecs()


@pytest.mark.parametrize(("name", "wire_id"), [("raw", 0), ("msgpack", 1), ("json", 2), ("protobuf", 3)])
def test_built_in_codec_has_the_number_of_the_protocol(name: str, wire_id: int) -> None:
    assert codec_named(name).wire_id == wire_id
    assert codec_with_id(wire_id) is codec_named(name)
    assert codec_named(name).name == name


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="no codec is called 'pickle'; there are raw, msgpack, json, protobuf"
    ):
        codec_named("pickle")


@pytest.mark.parametrize("wire_id", [-1, 4, 63, 64, 255, 1000])
def test_unknown_number_is_refused(wire_id: int) -> None:
    with pytest.raises(ConfigError, match=f"no codec has the number {wire_id}"):
        codec_with_id(wire_id)


@pytest.mark.parametrize("attribute", ["UpperCodec", "upper_object"])
def test_installed_codec_is_found_as_class_or_object(install: Install, attribute: str) -> None:
    install({"upper": attribute})
    assert codec_names() == ("raw", "msgpack", "json", "protobuf", "upper")
    assert codec_named("upper").encode("a") == b"A"
    assert codec_with_id(64) is codec_named("upper")


def test_installed_codec_cannot_replace_a_built_in_one(install: Install) -> None:
    install({"json": "UpperCodec"})
    assert codec_named("json").wire_id == 2


def test_installed_codec_cannot_take_a_number_of_the_protocol(install: Install) -> None:
    install({"greedy": "GreedyCodec"})
    with pytest.raises(ConfigError, match=r"'greedy' .* has wire_id 1; installed codecs use 64 to 255"):
        codec_named("greedy")


def test_installed_codec_must_bear_its_own_name(install: Install) -> None:
    install({"lower": "UpperCodec"})
    with pytest.raises(ConfigError, match="calls itself 'upper'"):
        codec_named("lower")


def test_broken_package_is_named(install: Install) -> None:
    install({"upper": "MissingCodec"})
    with pytest.raises(ConfigError, match=r"'upper' .* does not load"):
        codec_named("upper")


def test_broken_package_does_not_hide_other_packages(install: Install) -> None:
    install({"broken": "MissingCodec", "upper": "UpperCodec"})
    assert codec_with_id(64).name == "upper"
