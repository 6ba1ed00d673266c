"""Types that are messages of google.protobuf, by `Field(kind=…)`."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
from google.protobuf import json_format

import fastrpc
from fastrpc import Field
from fastrpc.errors import CallError, DecodeError, EncodeError
from fastrpc.grpc import AnyMessage
from fastrpc.rpc.protobuf.derivation import Derivation
from fastrpc.rpc.protobuf.field import FieldError
from fastrpc.rpc.protobuf.marshals import message_marshal
from fastrpc.rpc.service import method_definition
from tests.support.schema_oracle import Echo

GOOGLE = "google.protobuf."


def wrapped(kind: Any, name: str) -> Any:
    return Annotated[kind, Field(kind=f"{GOOGLE}{name}")]


@dataclasses.dataclass
class Known:
    flag: wrapped(bool | None, "BoolValue") = None  # type: ignore[valid-type]
    data: wrapped(bytes | None, "BytesValue") = None  # type: ignore[valid-type]
    share: wrapped(float | None, "DoubleValue") = None  # type: ignore[valid-type]
    narrow: wrapped(float | None, "FloatValue") = None  # type: ignore[valid-type]
    small: wrapped(int | None, "Int32Value") = None  # type: ignore[valid-type]
    large: wrapped(int | None, "Int64Value") = None  # type: ignore[valid-type]
    text: wrapped(str | None, "StringValue") = None  # type: ignore[valid-type]
    natural: wrapped(int | None, "UInt32Value") = None  # type: ignore[valid-type]
    huge: wrapped(int | None, "UInt64Value") = None  # type: ignore[valid-type]
    object: wrapped(dict[str, Any] | None, "Struct") = None  # type: ignore[valid-type]
    values: wrapped(list[Any] | None, "ListValue") = None  # type: ignore[valid-type]
    mask: wrapped(list[str] | None, "FieldMask") = None  # type: ignore[valid-type]
    anything: AnyMessage | None = None
    texts: wrapped(list[str], "StringValue") = dataclasses.field(default_factory=list)  # type: ignore[valid-type]
    masks: list[wrapped(list[str], "FieldMask")] = dataclasses.field(default_factory=list)  # type: ignore[valid-type]
    counts: dict[str, wrapped(int, "Int64Value")] = dataclasses.field(default_factory=dict)  # type: ignore[valid-type]


EVERY = Known(
    flag=True,
    data=b"\x00",
    share=1.5,
    narrow=0.25,
    small=-1,
    large=-(1 << 60),
    text="täxt",
    natural=(1 << 32) - 1,
    huge=(1 << 64) - 1,
    object={"a": [1, None, {"b": "c"}]},
    values=[1, "a", None, [True]],
    mask=["user.name", "some_size"],
    anything=AnyMessage("type.googleapis.com/google.protobuf.Empty", b""),
    texts=["", "a"],
    masks=[["a"], []],
    counts={"a": 0, "b": 5},
)
ZEROS = Known(False, b"", 0.0, 0.0, 0, 0, "", 0, 0, {}, [], [], AnyMessage("", b""))


@pytest.fixture(scope="module")
def known() -> Echo:
    return Echo(Known)


@pytest.mark.parametrize("value", [EVERY, ZEROS, Known()], ids=["every", "zeros", "none"])
def test_values_come_back_as_protobuf_writes_them(known: Echo, value: Known) -> None:
    message = known.oracle.FromString(known.encode(value))
    assert known.decode(message.SerializeToString()) == value


def test_each_is_the_message_that_its_kind_names(known: Echo) -> None:
    found = {field.name: field.message_type.full_name for field in known.oracle.DESCRIPTOR.fields}
    found.pop("counts")
    assert {name.removeprefix(GOOGLE) for name in found.values()} == {
        *("BoolValue", "BytesValue", "DoubleValue", "FloatValue", "Int32Value", "Int64Value", "StringValue"),
        *("UInt32Value", "UInt64Value", "Struct", "ListValue", "FieldMask", "Any"),
    }


@pytest.mark.parametrize("value", [EVERY, ZEROS, Known()], ids=["every", "zeros", "none"])
def test_their_json_is_protobufs(known: Echo, value: Known) -> None:
    # The JSON of a message of any type has its fields.
    plain = dataclasses.replace(value, anything=None)
    text = known.json.encode_result(plain)
    message = json_format.Parse(text, known.oracle())
    assert known.decode(message.SerializeToString()) == plain
    theirs = json_format.MessageToJson(known.oracle.FromString(known.encode(plain)))
    assert known.json.decode_result(theirs.encode()) == plain


def test_the_json_of_a_message_of_any_type_is_refused(known: Echo) -> None:
    with pytest.raises(EncodeError, match=r"JSON of google\.protobuf\.Any needs the type"):
        known.json.encode_result(EVERY)
    with pytest.raises((DecodeError, CallError), match=r"Known\.anything: the JSON of google\.protobuf\.Any"):
        known.json.decode_result(b'{"anything": {"@type": "a/b"}}')


def test_a_mask_without_a_form_in_json_is_refused(known: Echo) -> None:
    with pytest.raises(EncodeError, match=r"'userName' in a google\.protobuf\.FieldMask has no form in JSON"):
        known.json.encode_result(Known(mask=["userName"]))
    with pytest.raises(
        (DecodeError, CallError), match=r"Known\.mask: expected a text such as user\.name,size"
    ):
        known.json.decode_result(b'{"mask": 5}')


@fastrpc.service("shop.v1.known")
class Whole:
    @fastrpc.method
    async def say(self, text: wrapped(str, "StringValue")) -> wrapped(str, "StringValue"): ...  # type: ignore[valid-type, empty-body]

    @fastrpc.method
    async def wait(self, at: wrapped(datetime, "Timestamp")) -> wrapped(timedelta, "Duration"): ...  # type: ignore[valid-type, empty-body]

    @fastrpc.method
    async def guess(self, value: wrapped(Any, "Value")) -> AnyMessage: ...  # type: ignore[valid-type, empty-body]

    @fastrpc.method
    async def store(self, value: wrapped(dict[str, Any], "Struct")) -> wrapped(list[Any], "ListValue"): ...  # type: ignore[valid-type, empty-body]

    @fastrpc.method
    async def texts(self, text: wrapped(list[str], "StringValue")) -> list[str]: ...  # type: ignore[valid-type, empty-body]


@pytest.mark.parametrize(
    ("method", "argument", "result"),
    [
        (Whole.say, "a", ""),
        (Whole.wait, datetime(2026, 1, 2, tzinfo=UTC), timedelta(seconds=1.5)),
        (Whole.guess, {"a": 1}, AnyMessage("a/b", b"c")),
        (Whole.store, {"a": None}, [1, 2]),
    ],
)
def test_a_whole_request_and_answer_may_be_one(method: Any, argument: Any, result: Any) -> None:
    definition = method_definition(method)
    for as_json in (False, True):
        marshal = message_marshal(definition, depth=100, items=10_000, as_json=as_json)
        assert marshal.decode_arguments(marshal.encode_arguments((argument,), None)) == (argument,)
        if not (as_json and isinstance(result, AnyMessage)):
            assert marshal.decode_result(marshal.encode_result(result)) == result


def test_a_wrong_json_of_a_whole_message_is_the_callers_fault() -> None:
    marshal = message_marshal(method_definition(Whole.wait), depth=100, items=10_000, as_json=True)
    with pytest.raises(CallError, match="timestamp: expected a time such as"):
        marshal.decode_arguments(b'"yesterday"')


def test_a_list_of_them_is_a_field() -> None:
    definition = method_definition(Whole.texts)
    marshal = message_marshal(definition, depth=100, items=10_000)
    assert marshal.encode_arguments((["a", ""],), None) == b"\x0a\x03\x0a\x01a\x0a\x00"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (wrapped(int, "StringValue"), "is for a str, not for int"),
        (wrapped(str, "Int32Value"), "is for an int, not for str"),
        (wrapped(dict[str, int], "Struct"), r"is for dict\[str, Any\], not for dict"),
        (wrapped(dict[str, str], "StringValue"), "is for a str, not for"),
        (wrapped(list[int], "FieldMask"), r"is for list\[str\], not for list"),
        (wrapped(str, "Timestamp"), "is for a datetime, not for str"),
        (wrapped(str, "Any"), "is for an AnyMessage, not for str"),
        (wrapped(Known, "Struct"), r"is for dict\[str, Any\], not for"),
    ],
)
def test_a_kind_of_another_type_is_refused(annotation: Any, text: str) -> None:
    with pytest.raises(FieldError, match=text):
        Derivation().message(dataclasses.make_dataclass("Wrong", [("value", annotation)]))
