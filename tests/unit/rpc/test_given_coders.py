"""Methods whose payloads functions of the program encode and decode."""

import pytest

from fastrpc import ConfigError, method, service
from fastrpc.errors import DecodeError
from fastrpc.rpc.given_coders import GivenCoders
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import method_definition


def marshal_of(coders: GivenCoders, codec: str = "protobuf"):  # type: ignore[no-untyped-def]
    @service("words")
    class Words:
        @method(codec="protobuf")
        async def turn(self, word: object, /) -> object: ...

    definition = method_definition(Words.turn)
    definition.given_coders = coders
    return marshal_for(definition, codec, depth=8, items=100)


def read(payload: bytes) -> str:
    return payload.decode("ascii")


CALLER = GivenCoders(str.encode, read, read)
SERVED = GivenCoders(str.encode, read, None)


def test_a_caller_encodes_arguments_and_decodes_results_by_them() -> None:
    marshal = marshal_of(CALLER)
    assert marshal.encode_arguments(("tea",), {}) == b"tea"
    assert marshal.encode_message("tea") == b"tea"
    assert marshal.decode_result(b"milk") == "milk"
    with pytest.raises(DecodeError, match=r"words\.turn"):
        marshal.decode_result(b"\xff")


def test_a_server_decodes_arguments_and_encodes_results_by_them() -> None:
    marshal = marshal_of(SERVED)
    assert marshal.decode_arguments(b"tea") == ("tea",)
    assert marshal.decode_message(b"tea") == "tea"
    assert marshal.encode_result("milk") == b"milk"


def test_another_codec_cannot_carry_their_payloads() -> None:
    with pytest.raises(ConfigError, match=r"Words\.turn encodes its payloads itself, so codec json cannot"):
        marshal_of(CALLER, "json")
