"""Methods at a gateway by descriptors: parameters are the fields of a request, and become one message again."""

from typing import Any, cast

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2

from fastrpc import CallError, Status
from fastrpc.gateway.forwarding import ForwardedMethod, Forwarder, forwarding_service
from fastrpc.gateway.grpc_methods import described_method
from fastrpc.rpc.service import service_definition

pytestmark = pytest.mark.one_loop

INT64, STRING = 3, 9


def field(name: str, number: int, kind: int = STRING, **more: Any) -> dict[str, Any]:
    return {"name": name, "number": number, "type": kind, "label": 1, **more}


def method(name: str, request: str, level: int = 0, **more: Any) -> dict[str, Any]:
    options = {"idempotency_level": level}
    return {"name": name, "input_type": request, "output_type": ".shop.Box", "options": options, **more}


def pool() -> Any:
    found = descriptor_pool.DescriptorPool()
    found.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    fields = [
        field("item_name", 1),
        field("from", 2),
        field("self", 3),
        field("counts", 4, INT64, label=3),
    ]
    methods = [
        method("Get", ".shop.Box", level=1),
        method("Put", ".shop.Box", level=2),
        method("Send", ".shop.Box", client_streaming=True),
        method("Ask", ".google.protobuf.Value"),
    ]
    found.Add(
        descriptor_pb2.FileDescriptorProto(
            name="shop.proto",
            package="shop",
            syntax="proto3",
            dependency=["google/protobuf/struct.proto"],
            message_type=[{"name": "Box", "field": fields}],
            service=[{"name": "Desk", "method": methods}],
        )
    )
    return found


POOL = pool()


def described(name: str) -> ForwardedMethod:
    return described_method(POOL.FindServiceByName("shop.Desk").methods_by_name[name], POOL)


def sent(name: str, **values: Any) -> Any:
    """Return the message of arguments by name, as values."""
    behind = cast(Any, described(name).behind)
    [content] = behind.arguments((), values)
    return behind.method.request.decoded(content)


def test_fields_have_both_of_their_names() -> None:
    names = [one.name for one in described("Get").parameters]
    assert names == ["itemName", "item_name", "from_", "self_", "counts"]
    for name in ("itemName", "item_name"):
        assert sent("Get", **{name: "a"}) == {"itemName": "a"}


def test_words_of_python_are_names_of_fields_all_the_same() -> None:
    assert described("Get").options["renamed"] == {"from": "from_", "self": "self_"}
    assert sent("Get", from_="a", self_="b", counts=[1, "2"]) == {
        "from": "a",
        "self": "b",
        "counts": ["1", "2"],
    }


def test_a_known_type_is_one_value() -> None:
    assert [one.name for one in described("Ask").parameters] == ["value"]
    assert sent("Ask", value=[1, None]) == [1.0, None]


def test_levels_of_idempotency_are_options() -> None:
    levels = {name: described(name).options for name in ("Get", "Put", "Send")}
    assert [(one["safe"], one["idempotent"]) for one in levels.values()] == [
        (True, True),
        (False, True),
        (False, False),
    ]


def test_a_service_of_all_kinds_can_be_made() -> None:
    made = forwarding_service(
        "shop.Desk",
        [described(name) for name in ("Get", "Put", "Send", "Ask")],
        Forwarder(cast(Any, None), is_grpc=True),
    )
    methods = service_definition(made).methods
    assert {name: one.kind for name, one in methods.items()} == {
        "Get": "unary",
        "Put": "unary",
        "Send": "client_stream",
        "Ask": "unary",
    }
    assert not any(one.passes_on for one in methods.values())


@pytest.mark.parametrize("values", [{"item_name": 1}, {"counts": ["x"]}, {"counts": 1}], ids=str)
def test_values_that_do_not_fit_are_an_error_of_the_caller(values: dict[str, Any]) -> None:
    with pytest.raises(CallError, match=r"the values do not fit shop\.Box") as refused:
        sent("Get", **values)
    assert refused.value.status is Status.INVALID_ARGUMENT


async def test_each_message_of_a_stream_is_checked() -> None:
    behind = cast(Any, described("Send").behind)

    async def messages() -> Any:
        yield {"itemName": "a"}
        yield {"nope": 1}

    [stream] = behind.arguments((messages(),), {})
    assert behind.method.request.decoded(await anext(stream)) == {"itemName": "a"}
    with pytest.raises(CallError, match="nope"):
        await anext(stream)
