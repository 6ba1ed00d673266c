"""Finding compressors by name and by number, built in and installed, with and without their packages."""

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from importlib.util import find_spec

import pytest

from fastrpc.compressors import base
from fastrpc.compressors.base import (
    compress_if_smaller,
    compressor_named,
    compressor_names,
    compressor_numbers,
    decompress_steps,
    run_steps,
)
from fastrpc.errors import ConfigError

Install = Callable[[dict[str, str]], None]


class ReverseCompressor:
    """Offers no steps of its own, as a third party's compressor may."""

    name = "reverse"
    wire_id = 200

    def compress(self, payload: base.Payload) -> bytes:
        return bytes(payload)[::-1]

    def decompress(self, payload: base.Payload, max_size: int) -> bytes:
        return bytes(payload)[::-1]


class GreedyCompressor(ReverseCompressor):
    name = "greedy"
    wire_id = 3


def forget_compressors() -> None:
    for cached in (compressor_named, base.compressor_numbers, base._installed):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_table() -> Iterator[None]:
    forget_compressors()
    yield
    forget_compressors()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretends that packages offer compressors: name -> attribute of this module."""

    def install(compressors: dict[str, str]) -> None:
        found = [
            EntryPoint(name, f"{__name__}:{attribute}", base.ENTRY_POINT_GROUP)
            for name, attribute in compressors.items()
        ]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found)

    return install


@pytest.mark.parametrize(("name", "wire_id"), [("gzip", 1), ("lz4", 2), ("zstd", 3), ("deflate", 4)])
def test_built_in_compressor_has_the_number_of_the_protocol(name: str, wire_id: int) -> None:
    assert compressor_named(name).wire_id == wire_id
    assert compressor_numbers()[wire_id] is compressor_named(name)
    assert compressor_named(name).name == name


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="no compressor is called 'bzip2'; there are gzip, lz4, zstd, deflate"
    ):
        compressor_named("bzip2")


@pytest.mark.parametrize(
    ("name", "package", "line"),
    [("lz4", "lz4.frame", 'pip install "lz4"'), ("zstd", "backports", 'pip install "fastrpc[zstd]"')],
)
def test_missing_package_names_the_install_line(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, line: str
) -> None:
    if name == "zstd" and sys.version_info >= (3, 14):
        pytest.skip("part of the standard library here")
    # None in sys.modules makes the import fail.
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"fastrpc.compressors.{name}", raising=False)
    with pytest.raises(ConfigError) as caught:
        compressor_named(name)
    assert caught.value.hint == line
    assert name not in [compressor.name for compressor in compressor_numbers().values()]
    assert name in compressor_names()


def test_available_compressors_come_in_the_order_of_their_numbers(install: Install) -> None:
    install({"reverse": "ReverseCompressor", "broken": "MissingCompressor"})
    assert [compressor.name for compressor in compressor_numbers().values()] == [
        "gzip",
        *["lz4"] * (find_spec("lz4") is not None),
        "zstd",
        "deflate",
        "reverse",
    ]


def test_installed_compressor_is_found_by_name_and_number(install: Install) -> None:
    install({"reverse": "ReverseCompressor"})
    assert compressor_numbers()[200] is compressor_named("reverse")


@pytest.mark.parametrize(
    ("name", "attribute", "reason"),
    [
        ("greedy", "GreedyCompressor", "has wire_id 3; installed compressors use 64 to 255"),
        ("forward", "ReverseCompressor", "calls itself 'reverse'"),
        ("reverse", "MissingCompressor", "does not load"),
    ],
)
def test_unfit_package_is_refused_with_the_reason(
    install: Install, name: str, attribute: str, reason: str
) -> None:
    install({name: attribute})
    with pytest.raises(ConfigError, match=f"{name!r} .*{reason}"):
        compressor_named(name)


def test_compressor_without_steps_takes_one() -> None:
    assert run_steps(decompress_steps(ReverseCompressor(), b"abc", 100)) == b"cba"


def test_compression_that_does_not_pay_is_left_out() -> None:
    assert compress_if_smaller(b"abc", ReverseCompressor()) is None
