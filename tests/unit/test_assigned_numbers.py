"""Numbers that PROTOCOL.md assigns are defined in one place; code that cannot read them from there agrees with it."""

import re

import pytest

from fastrpc import ServerConfig
from fastrpc._core.wire.settings import WireSettings, usual_settings
from fastrpc.assigned_numbers import CODECS, COMPRESSORS, FIRST_OWN_NUMBER, FOREIGN_CODECS, VALUE_CODECS
from fastrpc.codecs.base import codec_named, codec_number, codec_numbers
from fastrpc.compressors.base import compressor_named
from tests.support.source_tree import PACKAGE, ROOT


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_has_the_same_number_everywhere(name: str) -> None:
    assert codec_named(name).wire_id == codec_number(name) == CODECS[name]
    assert codec_numbers()[CODECS[name]] == name
    assert usual_settings(True).codecs[CODECS[name]] == name
    assert name in ServerConfig().codecs


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressor_has_its_number(name: str) -> None:
    assert compressor_named(name).wire_id == COMPRESSORS[name]


def test_the_floor_has_codecs_that_every_peer_knows() -> None:
    assert WireSettings(True).codecs == WireSettings(False).codecs == {0: "raw", 1: "msgpack"}


def test_c_and_the_protocol_agree_on_the_first_installed_number() -> None:
    declared = re.search(
        r"FIRST_OWN_NUMBER = (\d+)", (PACKAGE / "_core/wire/settings.pxd").read_text(encoding="utf-8")
    )
    assert declared is not None
    assert int(declared[1]) == FIRST_OWN_NUMBER


def test_compiled_code_has_the_numbers_of_codecs_from_one_place() -> None:
    name = re.compile(
        r"^ +(CODEC_(?:RAW|MSGPACK|JSON|PROTOBUF)|SERIALIZE_\w+|FOREIGN_CODECS) = (\d+)", re.MULTILINE
    )
    found = {path: name.findall(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.p[xy][dx]")}
    declaring = {
        path.relative_to(PACKAGE).as_posix(): declared for path, declared in found.items() if declared
    }
    assert list(declaring) == ["_core/base/codec_numbers.pxd"]
    numbers = {key: int(number) for key, number in declaring["_core/base/codec_numbers.pxd"]}
    assert {key: numbers[f"CODEC_{key.upper()}"] for key in CODECS} == CODECS
    foreign = numbers["FOREIGN_CODECS"]
    assert foreign == FOREIGN_CODECS
    assert {
        foreign + numbers[f"SERIALIZE_{key.upper()}"]: key for key in VALUE_CODECS.values()
    } == VALUE_CODECS


def test_the_protocol_assigns_these_numbers() -> None:
    text = (ROOT / "PROTOCOL.md").read_text(encoding="utf-8")
    for name, number in {**CODECS, **COMPRESSORS}.items():
        assert re.search(rf"\b{number} `?{name}\b", text), name
