"""Routes in the OpenAPI document: the path, the query and the body of each."""

import datetime
import json
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from openapi_spec_validator import OpenAPIV31SpecValidator

import fastrpc
from fastrpc.openapi.document import openapi_document
from fastrpc.rpc.service import service_definition


class Color(Enum):
    RED = "red"


@dataclass
class Order:
    item: str
    at: datetime.date


@fastrpc.service("orders")
class Orders(Protocol):
    @fastrpc.method(safe=True, http="GET /orders/{id}")
    async def get(self, id: uuid.UUID, tags: list[str], most: int | None = None) -> Order: ...

    @fastrpc.method(http="DELETE /orders/{id}")
    async def delete(self, id: uuid.UUID, reason: str = "") -> None: ...

    @fastrpc.method(http="PUT /orders/{id}")
    async def put(self, id: uuid.UUID, order: Order) -> Order: ...

    @fastrpc.method(http="PATCH /orders/{id}")
    async def change(self, id: uuid.UUID, item: str | None = None, color: Color = Color.RED) -> Order: ...

    @fastrpc.method(http="POST /orders/{id}/ship")
    async def ship(self, id: uuid.UUID) -> None: ...

    @fastrpc.method(safe=True, http="GET /files/{path:path}")
    async def file(self, path: str) -> bytes: ...


@fastrpc.service("files")
class Files(Protocol):
    @fastrpc.method(safe=True, http="GET /files/{name_path}/{name:path}")
    async def inside(self, name: str, name_path: str) -> bytes: ...

    @fastrpc.method(safe=True, http="GET /files/{name_path}/{name}")
    async def beside(self, name: str, name_path: str) -> bytes: ...

    @fastrpc.method(safe=True, http="GET /files/{name:path}")
    async def tree(self, name: str, most: int = 9) -> bytes: ...

    @fastrpc.method(safe=True, http="GET /files/{name}")
    async def one(self, name: str) -> bytes: ...

    @fastrpc.method(http="PUT /files/{name:path}")
    async def put(self, name: str, data: str) -> None: ...


def paths(service: Any = Orders) -> dict[str, Any]:
    made = openapi_document([service_definition(service)])
    read: dict[str, Any] = json.loads(json.dumps(made, allow_nan=False))
    assert list(OpenAPIV31SpecValidator(read).iter_errors()) == []
    found: dict[str, Any] = read["paths"]
    return found


def test_routes_are_listed_next_to_the_paths_of_their_methods() -> None:
    found = paths()
    assert set(found["/orders/{id}"]) == {"get", "delete", "put", "patch"}
    assert set(found["/orders/{id}/ship"]) == {"post"}
    assert set(found["/files/{path}"]) == {"get"}
    assert set(found["/orders/get"]) == {"get", "post"}
    names = [operation["operationId"] for path in found.values() for operation in path.values()]
    assert len(set(names)) == len(names)
    assert found["/orders/{id}"]["get"]["operationId"] == "http_orders_get"


def test_routes_of_one_segment_and_of_all_further_ones_are_different() -> None:
    found = paths(Files)
    told = {
        (path, verb): (operation["operationId"], [one["name"] for one in operation["parameters"]])
        for path in found
        if "{" in path
        for verb, operation in found[path].items()
    }
    assert told == {
        ("/files/{name}", "get"): ("http_files_one", ["name"]),
        ("/files/{name}", "put"): ("http_files_put", ["name"]),
        ("/files/{name_path}", "get"): ("http_files_tree", ["name_path", "most"]),
        ("/files/{name_path}/{name}", "get"): ("http_files_beside", ["name_path", "name"]),
        ("/files/{name_path}/{name_path_}", "get"): ("http_files_inside", ["name_path", "name_path_"]),
    }


def test_arguments_are_in_path_query_and_body() -> None:
    route = paths()["/orders/{id}"]
    places = {
        verb: [(one["name"], one["in"], one["required"]) for one in route[verb]["parameters"]]
        for verb in route
    }
    assert places == {
        "get": [("id", "path", True), ("tags", "query", True), ("most", "query", False)],
        "delete": [("id", "path", True), ("reason", "query", False)],
        "put": [("id", "path", True)],
        "patch": [("id", "path", True)],
    }
    assert route["get"]["parameters"][0]["schema"] == {"type": "string", "format": "uuid"}
    assert not any("requestBody" in route[verb] for verb in ("get", "delete"))


def test_a_body_is_the_only_argument_with_fields_or_an_object_of_all() -> None:
    found = paths()
    put, change = (found["/orders/{id}"][verb]["requestBody"] for verb in ("put", "patch"))
    assert put["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Order"}
    assert (put["required"], change["required"]) == (True, False)
    assert set(change["content"]["application/json"]["schema"]["properties"]) == {"item", "color"}
    assert "requestBody" not in found["/orders/{id}/ship"]["post"]
