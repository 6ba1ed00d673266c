"""The functions of a codec for one method: which arguments its payloads can carry."""

from typing import Any

import pytest

from fastrpc._core.payload.arguments import ArgumentShape
from fastrpc._core.payload.coders import PayloadCoders
from fastrpc._core.payload.marshal import Marshal
from fastrpc.codecs.base import codec_number
from tests.support.marshal_factory import encode, refuse


def coders(codec: str) -> PayloadCoders:
    return PayloadCoders(
        codec,
        codec_number(codec),
        encode=(encode, encode, encode),
        decode=(bytes, bytes),
        exact=None,
        open=bytes,
        items=(bytes, bytes),
        scan=(None, None, None),
    )


def marshal(codec: str, *names: str, **forms: Any) -> Marshal:
    shape = ArgumentShape(names, (True,) * len(names), refuse, positional=len(names)) if names else None
    return Marshal("shop.buy", shape, coders(codec), depth=10, items=100, **forms)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_arrays_and_maps_carry_any_number_of_arguments_in_every_form(codec: str) -> None:
    assert marshal(codec, "tea", "cups").by_name is False
    assert marshal(codec, "tea", "cups", by_name=True).by_name is True
    assert marshal(codec, "tea", "cups", by_value="named").codec_id == codec_number(codec)


@pytest.mark.parametrize("codec", ["raw", "protobuf"])
def test_a_payload_that_is_the_argument_carries_one_in_one_form(codec: str) -> None:
    assert marshal(codec, "tea").method == "shop.buy"
    with pytest.raises(ValueError, match=f"shop.buy has 2 parameters; codec {codec} carries one"):
        marshal(codec, "tea", "cups")
    with pytest.raises(ValueError, match=f"codec {codec} cannot carry arguments as one value"):
        marshal(codec, "tea", by_value="either")
    with pytest.raises(ValueError, match=f"shop.buy has no names for codec {codec}"):
        marshal(codec, "tea", by_name=True)


def test_a_method_known_by_its_name_alone_has_no_names_of_parameters() -> None:
    with pytest.raises(ValueError, match="shop.buy has no names for codec json"):
        marshal("json", by_name=True)


def test_payloads_in_another_form_are_read_as_msgpack() -> None:
    def read(payload: Any) -> bytes:
        return b"\x91\xc4\x03" + bytes(payload)

    parts = coders("protobuf")
    assert parts.read_by(read, read, read) is parts
    assert parts.read_arguments is parts.read_result is parts.read_message is read
    Marshal(
        "shop.buy",
        ArgumentShape(("tea", "cups"), (True, True), refuse, positional=2),
        parts,
        depth=10,
        items=100,
    )
