"""The OpenAPI document: it is valid for every type, and describes the behaviour of the gateway."""

import json
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import pydantic
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, OpenAPIV32SpecValidator

import fastrpc
from fastrpc import HTTP, Server, ServerConfig
from fastrpc.config import OpenAPI
from fastrpc.openapi.document import openapi_document
from fastrpc.rpc.service import service_definition
from fastrpc.server.builtin import Reflection
from tests.support.every_type import EveryType
from tests.support.http_talk import HttpClient


def document(*services: Any, **options: Any) -> dict[str, Any]:
    """Return the document of services as a client reads it."""
    made = openapi_document([service_definition(one) for one in services], **options)
    read: dict[str, Any] = json.loads(json.dumps(made, allow_nan=False))
    return read


@fastrpc.service("shop.v1", version="3", alias=("Shop",))
class Shop:
    """Sells."""

    @fastrpc.method(safe=True, public=True)
    async def price(
        self, item: str, tags: list[str], sizes: list[int] | None = None, at: dict[str, int] | None = None
    ) -> float:
        """Return the price of an item.

        With its tags.
        """
        return 1.0

    @fastrpc.method("order-now", idempotent=True)
    async def order(self, item: str) -> None: ...


@fastrpc.service("plain")
class Plain:
    @fastrpc.method
    async def f(self) -> None: ...


@pytest.mark.parametrize("schemes", [(), ("bearer",)])
def test_a_document_is_valid_for_a_service_that_uses_every_type(schemes: tuple[str, ...]) -> None:
    found = document(EveryType, Shop, Plain, schemes=schemes)
    assert list(OpenAPIV31SpecValidator(found).iter_errors()) == []
    assert len(found["paths"]) == len(service_definition(EveryType).methods) + 3


def test_a_document_without_services_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(document()).iter_errors()) == []


def test_paths_have_canonical_names() -> None:
    assert list(document(Shop)["paths"]) == ["/shop.v1/price", "/shop.v1/order-now"]


def test_a_safe_method_is_a_get_as_well() -> None:
    paths = document(Shop)["paths"]
    assert list(paths["/shop.v1/price"]) == ["get", "post"]
    assert list(paths["/shop.v1/order-now"]) == ["post"]


def test_a_query_has_texts_and_numbers_unquoted_and_other_values_as_json() -> None:
    parameters = {one["name"]: one for one in document(Shop)["paths"]["/shop.v1/price"]["get"]["parameters"]}
    assert parameters["item"]["schema"] == {"type": "string"}
    assert parameters["tags"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert (parameters["tags"]["required"], parameters["at"]["required"]) == (True, False)
    assert list(parameters["at"]["content"]) == ["application/json"]
    every = {
        one["name"]: one for one in document(EveryType)["paths"]["/every.type/times"]["get"]["parameters"]
    }
    # Generators leave out a parameter with `content`.
    assert every["at"]["schema"]["format"] == "date-time"
    assert every["ids"]["schema"]["items"]["format"] == "uuid"


def test_operations_have_unique_names() -> None:
    paths = document(Shop, EveryType, Plain)["paths"]
    names = [operation["operationId"] for item in paths.values() for operation in item.values()]
    assert len(set(names)) == len(names)
    assert {"shop_v1_price", "get_shop_v1_price", "plain_f"} <= set(names)


def test_docstrings_are_summaries_and_descriptions() -> None:
    found = document(Shop)
    assert found["tags"] == [{"name": "shop.v1", "description": "Sells.", "x-version": "3"}]
    price = found["paths"]["/shop.v1/price"]["post"]
    assert price["summary"] == "Return the price of an item."
    assert price["description"].endswith("With its tags.")
    assert "summary" not in found["paths"]["/shop.v1/order-now"]["post"]


def test_a_body_is_needed_only_where_an_argument_is() -> None:
    paths = document(Shop, Plain)["paths"]
    assert paths["/shop.v1/order-now"]["post"]["requestBody"]["required"] is True
    assert paths["/plain/f"]["post"]["requestBody"]["required"] is False


def test_streams_are_lines_and_events() -> None:
    paths = document(EveryType)["paths"]
    answers = paths["/every.type/count"]["post"]["responses"]["200"]["content"]
    assert set(answers) == {"application/x-ndjson", "text/event-stream"}
    lines = answers["application/x-ndjson"]["schema"]["anyOf"]
    assert [next(iter(line["properties"])) for line in lines] == ["value", "end", "error"]
    body = paths["/every.type/total"]["post"]["requestBody"]["content"]["application/x-ndjson"]["schema"]
    assert [next(iter(line["properties"])) for line in body["anyOf"]] == ["arguments", "value", "end"]
    talk = paths["/every.type/talk"]["post"]["requestBody"]["content"]["application/x-ndjson"]["schema"]
    assert [next(iter(line["properties"])) for line in talk["anyOf"]] == ["value", "end"]


V32 = OpenAPI(specification="3.2")


@pytest.mark.parametrize("schemes", [(), ("bearer",)])
def test_version_3_2_is_valid_for_a_service_that_uses_every_type(schemes: tuple[str, ...]) -> None:
    found = document(EveryType, Shop, Plain, schemes=schemes, about=V32)
    assert found["openapi"] == "3.2.0"
    assert list(OpenAPIV32SpecValidator(found).iter_errors()) == []


def test_version_3_1_stays_the_default() -> None:
    assert document(Shop)["openapi"] == "3.1.0"
    assert "itemSchema" not in json.dumps(document(EveryType))


def test_version_3_2_differs_by_the_items_of_streams_alone() -> None:
    def without_streams(found: Any) -> Any:
        if isinstance(found, list):
            return [without_streams(one) for one in found]
        if isinstance(found, dict):
            media = {"application/x-ndjson", "text/event-stream"}
            return {
                name: without_streams(one) for name, one in found.items() if name not in {*media, "openapi"}
            }
        return found

    one, other = document(EveryType, Shop), document(EveryType, Shop, about=V32)
    assert without_streams(one) == without_streams(other)


def test_version_3_2_describes_each_line_and_each_event_of_a_stream() -> None:
    paths = document(EveryType, about=V32)["paths"]
    answers = paths["/every.type/count"]["post"]["responses"]["200"]["content"]
    assert [list(one) for one in answers.values()] == [["itemSchema"], ["itemSchema"]]
    lines = answers["application/x-ndjson"]["itemSchema"]["anyOf"]
    assert [next(iter(line["properties"])) for line in lines] == ["value", "end", "error"]
    body = paths["/every.type/total"]["post"]["requestBody"]["content"]["application/x-ndjson"]
    assert list(body) == ["itemSchema"]


def fields_of(event: str) -> dict[str, str]:
    """Return the fields of a server-sent event."""
    return {name: text for line in event.splitlines() for name, _, text in [line.partition(": ")]}


async def test_the_lines_and_events_of_a_server_fit_their_items() -> None:
    @fastrpc.service("counter")
    class Counter:
        @fastrpc.method
        async def count(self, to: int) -> AsyncIterator[int]:
            for number in range(to):
                yield number
            if to > 2:
                raise fastrpc.CallError(fastrpc.Status.OUT_OF_RANGE, "too many")

    config = ServerConfig(protocols=("http",), http=HTTP(docs=True, openapi=V32))
    async with Server(Counter, config=config) as server:
        http = await HttpClient.to(await server.listen("tcp://127.0.0.1:0"))
        found = (await http.get("/openapi.json")).value
        content = found["paths"]["/counter/count"]["post"]["responses"]["200"]["content"]
        for to, is_error in ((2, False), (3, True)):
            for media, split, read in (
                ("application/x-ndjson", "\n", json.loads),
                ("text/event-stream", "\n\n", fields_of),
            ):
                schema = {**content[media]["itemSchema"], "components": found["components"]}
                validator = jsonschema.Draft202012Validator(schema)
                answer = await http.post("/counter/count", {"to": to}, Accept=media)
                items = [read(one) for one in answer.body.decode().split(split) if one.strip()]
                assert len(items) == to + 1
                for item in items:
                    validator.validate(item)
                fitting = [
                    index
                    for index, one in enumerate(schema["anyOf"])
                    if jsonschema.Draft202012Validator({**one, "components": found["components"]}).is_valid(
                        items[-1]
                    )
                ]
                assert fitting == [2 if is_error else 1], (media, items[-1])
        http.writer.close()


class Account(pydantic.BaseModel):
    name: str
    password: str = pydantic.Field(exclude=True)


class Total(pydantic.BaseModel):
    price: int

    @pydantic.computed_field
    def total(self) -> int:
        return 2 * self.price


@fastrpc.service("accounts")
class Accounts:
    @fastrpc.method
    async def add(self, account: Account) -> Account:
        return account

    @fastrpc.method
    async def total(self) -> Total:
        return Total(price=1)


def test_results_have_the_form_in_which_models_are_sent() -> None:
    found = document(Accounts)
    assert list(OpenAPIV31SpecValidator(found).iter_errors()) == []
    schemas = found["components"]["schemas"]
    assert set(schemas) == {"Problem", "Account-Input", "Account-Output", "Total"}
    assert list(schemas["Account-Input"]["properties"]) == ["name", "password"]
    assert list(schemas["Account-Output"]["properties"]) == ["name"]
    assert schemas["Total"]["required"] == ["price", "total"]
    answers = found["paths"]["/accounts/add"]["post"]["responses"]["200"]["content"]
    assert answers["application/json"]["schema"] == {"$ref": "#/components/schemas/Account-Output"}


def test_arrays_travel_by_msgpack_alone() -> None:
    found = document(EveryType)["paths"]["/every.type/array"]["post"]
    assert list(found["requestBody"]["content"]) == ["application/msgpack"]


def test_a_server_that_authenticates_says_so_of_all_but_public_methods() -> None:
    found = document(Shop, schemes=("bearer",))
    assert found["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert found["paths"]["/shop.v1/order-now"]["post"]["security"] == [{"bearer": []}]
    assert found["paths"]["/shop.v1/price"]["get"]["security"] == [{}, {"bearer": []}]
    assert "security" not in document(Shop)["paths"]["/shop.v1/price"]["get"]


def test_problems_have_the_names_of_statuses() -> None:
    found = document(Shop)
    codes = found["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert "INVALID_ARGUMENT" in codes
    assert "OK" not in codes
    refusals = found["paths"]["/shop.v1/price"]["post"]["responses"]
    assert {"200", "400", "401", "404", "429", "503"} <= set(refusals)


def test_services_of_fastrpc_itself_are_left_out() -> None:
    assert document(Reflection, Plain)["info"]["title"] == "plain"
    assert list(document(Reflection)["paths"]) == []


def test_a_protobuf_method_is_left_out() -> None:
    timestamp = pytest.importorskip("google.protobuf.timestamp_pb2").Timestamp

    @fastrpc.service("proto")
    class Proto:
        @fastrpc.method
        async def f(self, at: timestamp) -> timestamp: ...  # type: ignore[valid-type]

        @fastrpc.method
        async def g(self, at: int) -> None: ...

    found = document(Proto)
    assert list(found["paths"]) == ["/proto/g"]
    assert found["info"]["description"].endswith(" Left out: `proto.f` travels by protobuf alone.")
    assert "Left out" not in document(Shop)["info"]["description"]
    hidden = openapi_document([service_definition(Proto)], may_call=lambda method: method.name == "g")
    assert "proto.f" not in hidden["info"]["description"]


def test_the_version_is_common_to_all_services() -> None:
    assert document(Shop)["info"]["version"] == "3"
    assert document(Shop, Plain)["info"]["version"] == "0"
    assert document(Shop, about=OpenAPI(title="Ours"))["info"]["title"] == "Ours"


def test_title_version_description_and_servers_follow_the_settings() -> None:
    assert document(Shop)["servers"] == [{"url": "/"}]
    about = OpenAPI(
        title="Prices", version="7", description="All of *them*.", servers=("https://A.example/v1", "/b")
    )
    found = document(Shop, about=about)
    assert list(OpenAPIV31SpecValidator(found).iter_errors()) == []
    assert (found["info"]["title"], found["info"]["version"]) == ("Prices", "7")
    assert found["info"]["description"].startswith("All of *them*.\n\nThe body of a call")
    assert found["servers"] == [{"url": "https://A.example/v1"}, {"url": "/b"}]
