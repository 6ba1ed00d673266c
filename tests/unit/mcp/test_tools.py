"""The tools that methods become."""

from collections.abc import AsyncIterator
from typing import Any

import numpy
import pydantic
import pytest
from jsonschema import Draft202012Validator

import fastrpc
from fastrpc import ConfigError
from fastrpc.mcp.tools import Tool, tools_of
from fastrpc.rpc.service import service_definition
from tests.support.every_type import Node


@fastrpc.service("shop.v1")
class Shop:
    @fastrpc.method(tool=True, safe=True)
    async def find(self, name: str, most: int = 3) -> list[Node]:
        """Find things.

        By their names.
        """
        return []

    @fastrpc.method(tool=True, idempotent=True)
    async def put(self, node: Node) -> Node:
        return node

    @fastrpc.method(tool=True)
    async def add(self) -> None: ...

    @fastrpc.method
    async def hidden(self) -> None: ...


def tools(*services: Any) -> dict[str, Tool]:
    return tools_of(method for service in services for method in service_definition(service).methods.values())


def test_each_method_marked_as_a_tool_is_a_tool() -> None:
    found = tools(Shop)
    assert list(found) == ["shop_v1_find", "shop_v1_put", "shop_v1_add"]
    assert found["shop_v1_find"].method.full_name == "shop.v1.find"


def test_a_tool_tells_its_arguments_and_its_text() -> None:
    about = tools(Shop)["shop_v1_find"].described(only_objects=False)
    assert about["description"] == "Find things.\n\nBy their names."
    assert about["inputSchema"]["required"] == ["name"]
    assert about["inputSchema"]["properties"]["most"] == {"type": "integer", "default": 3}
    assert "description" not in tools(Shop)["shop_v1_add"].about


def test_schemas_of_tools_stand_alone() -> None:
    for tool in tools(Shop).values():
        for name, schema in tool.described(only_objects=False).items():
            if name.endswith("Schema"):
                Draft202012Validator.check_schema(schema)
                assert schema["type"] in {"object", "array"}
    put = tools(Shop)["shop_v1_put"]
    node = {"value": "1.5", "children": [{"value": "2"}]}
    Draft202012Validator(put.about["inputSchema"]).validate({"node": node})
    Draft202012Validator(put.result).validate(node)


class Total(pydantic.BaseModel):
    price: int

    @pydantic.computed_field
    def total(self) -> int:
        return 2 * self.price


def test_the_schema_of_a_result_is_the_schema_of_the_sent_model() -> None:
    @fastrpc.service("totals")
    class Totals:
        @fastrpc.method(tool=True)
        async def of(self, total: Total) -> Total:
            return total

    (tool,) = tools(Totals).values()
    Draft202012Validator(tool.about["inputSchema"]).validate({"total": {"price": 1}})
    assert tool.result is not None
    assert tool.result["required"] == ["price", "total"]
    assert (list(tool.result["$defs"]), list(tool.about["inputSchema"]["$defs"])) == (["Total"], ["Total"])


def test_only_results_that_are_objects_are_told_to_earlier_revisions() -> None:
    found = tools(Shop)
    told = {name: "outputSchema" in tool.described(only_objects=True) for name, tool in found.items()}
    assert told == {"shop_v1_find": False, "shop_v1_put": True, "shop_v1_add": False}
    told = {name: "outputSchema" in tool.described(only_objects=False) for name, tool in found.items()}
    assert told == {"shop_v1_find": True, "shop_v1_put": True, "shop_v1_add": False}


def test_promises_of_a_method_are_annotations() -> None:
    hints = {name: tool.about["annotations"] for name, tool in tools(Shop).items()}
    assert hints["shop_v1_find"] == {"title": "shop.v1.find", "readOnlyHint": True, "idempotentHint": True}
    assert hints["shop_v1_put"] == {"title": "shop.v1.put", "idempotentHint": True}
    assert hints["shop_v1_add"] == {"title": "shop.v1.add"}


def test_two_methods_of_one_tool_are_refused() -> None:
    @fastrpc.service("shop_v1")
    class Other:
        @fastrpc.method(tool=True)
        async def find(self) -> None: ...

    with pytest.raises(ConfigError, match=r"shop\.v1\.find and shop_v1\.find are one tool, 'shop_v1_find'"):
        tools(Shop, Other)


def test_a_name_that_is_too_long_for_a_tool_is_refused() -> None:
    @fastrpc.service("s" * 60)
    class Long:
        @fastrpc.method(tool=True)
        async def method(self) -> None: ...

    with pytest.raises(ConfigError, match="longer than 64 characters"):
        tools(Long)


def test_types_that_json_does_not_carry_are_refused() -> None:
    @fastrpc.service("arrays")
    class Arrays:
        @fastrpc.method(tool=True)
        async def total(self, values: numpy.ndarray[Any, Any]) -> float:
            return 0.0

    with pytest.raises(ConfigError, match=r"arrays\.total cannot be a tool: JSON does not carry its types"):
        tools(Arrays)


def test_a_method_that_streams_cannot_be_a_tool() -> None:
    with pytest.raises(TypeError, match="streams, so it cannot be a tool"):

        class Given:
            @fastrpc.method(tool=True)
            async def follow(self) -> AsyncIterator[int]:
                yield 1

    with pytest.raises(TypeError, match="streams, so it cannot be a tool"):

        class Taken:
            @fastrpc.method(tool=True)
            async def total(self, numbers: AsyncIterator[int]) -> int:
                return 0
