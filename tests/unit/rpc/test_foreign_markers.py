"""Markers and objects of FastAPI and pydantic at the parameters of a method: none is silently accepted."""

import dataclasses
import warnings
from collections.abc import AsyncIterator
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from fastapi import (
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    File,
    Form,
    Header,
    Path,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
    WebSocket,
)
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from starlette import datastructures, responses

from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service, service_definition
from fastrpc.rpc.upload import Upload

with warnings.catch_warnings():
    # It says that its models do not work on Python 3.14.
    warnings.simplefilter("ignore")
    from pydantic import v1 as pydantic_v1


def user() -> str:
    return "ada"


class Alias:
    """As `type Alias = dict[str, Alias] | Annotated[…]` of Python 3.12."""

    __value__: Any


Alias.__value__ = dict[str, Alias] | Annotated[str, Depends(user)]


async def query(self: Any, limit: int = Query(10, ge=1)) -> None: ...
async def field(self: Any, limit: int = pydantic.Field(10, ge=1)) -> None: ...
async def depends(self: Any, by: str = Depends(user)) -> None: ...
async def security(self: Any, by: Annotated[str, Security(user)]) -> None: ...
async def as_text(self: Any, by: "Annotated[str, Depends(user)]") -> None: ...
async def below(self: Any, by: Annotated[str, Depends(user)] | None = None) -> None: ...
async def deep(self: Any, by: "dict[str, list[Annotated[str, Depends(user)]]]") -> None: ...
async def by_alias(self: Any, by: Alias) -> None: ...
async def streamed(self: Any, by: AsyncIterator[Annotated[str, Depends(user)]]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (
            query,
            r"query: the default of 'limit' is Query\(…\) of fastapi, which has no effect here: write the value",
        ),
        (field, r"the default of 'limit' is Field\(…\) of pydantic"),
        (depends, r"'by' is Depends\(…\) of fastapi, which does not run here: callers could send the value"),
        (security, r"'by' is Security\(…\) of fastapi"),
        (as_text, r"'by' is Depends\(…\) of fastapi"),
        (below, r"'by' is Depends\(…\) of fastapi"),
        (deep, r"'by' is Depends\(…\) of fastapi"),
        (by_alias, r"'by' is Depends\(…\) of fastapi"),
        (streamed, r"'by' is Depends\(…\) of fastapi"),
    ],
)
def test_a_default_or_dependency_of_fastapi_is_refused(handler: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        method(handler)


class Login(pydantic.BaseModel):
    name: str


async def header(self: Any, user: Annotated[str, Header()]) -> None: ...
async def header_by_default(self: Any, user: str = Header()) -> None: ...
async def header_below(self: Any, user: Annotated[str, Header()] | None = None) -> None: ...
async def cookie(self: Any, user: Annotated[str, Cookie()]) -> None: ...
async def form(self: Any, user: Annotated[Login, Form()]) -> None: ...
async def file(self: Any, photo: Annotated[bytes, File()]) -> None: ...
async def embedded(self: Any, user: Annotated[str, Body(embed=True)]) -> None: ...
async def query_alias(self: Any, limit: Annotated[int, Query(alias="most", ge=1)]) -> None: ...
async def query_alias_by_default(self: Any, limit: int = Query(1, alias="most")) -> None: ...
async def dashed(self: Any, limit: Annotated[int, Query(alias="the-most")]) -> None: ...
async def path_alias(self: Any, limit: Annotated[int, Path(alias="most")]) -> None: ...
async def field_alias(self: Any, limit: Annotated[int, pydantic.Field(alias="most")]) -> None: ...
async def several(
    self: Any, limit: Annotated[int, Query(validation_alias=pydantic.AliasChoices("a", "b"))]
) -> None: ...


_RENAMED = r"has no effect here: write the type without it, .*@fastrpc\.method\(renamed=\{'most': 'limit'\}\)"


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (header, r"header: 'user' is Header\(…\) of fastapi, which is not read here: callers could send"),
        (header_by_default, r"'user' is Header\(…\) of fastapi, which is not read here: callers could send"),
        (header_below, r"'user' is Header\(…\) of fastapi"),
        (cookie, r"'user' is Cookie\(…\) of fastapi, .*: methods have no cookies"),
        (form, r"'user' is Form\(…\) of fastapi, .*: write its fields as parameters"),
        (dashed, r"has an alias in Query.* write the type without it; a name that Python cannot write stays"),
        (file, r"'photo' is File\(…\) of fastapi, .*: write `photo: fastrpc\.Upload`"),
        (embedded, r"'user' is Body\(…\) of fastapi with embed, .*: write only the type"),
        (query_alias, rf"'limit' has an alias in Query\(…\) of fastapi, which {_RENAMED}"),
        (query_alias_by_default, rf"'limit' has an alias in Query\(…\) of fastapi, which {_RENAMED}"),
        (path_alias, rf"'limit' has an alias in Path\(…\) of fastapi, which {_RENAMED}"),
        (field_alias, rf"'limit' has an alias in Field\(…\) of pydantic, which {_RENAMED}"),
        (several, r"'limit' has an alias in Query\(…\) of fastapi"),
    ],
)
def test_a_marker_of_another_place_or_name_is_refused(handler: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        method(handler)


async def made(self: Any, tags: Annotated[list[str], Query(default_factory=list)]) -> None: ...
async def filled(self: Any, limit: Annotated[int, pydantic.Field(default=10)]) -> None: ...
async def emptied(self: Any, limit: Annotated[int | None, pydantic.Field(default=None)]) -> None: ...
async def of_v1(self: Any, limit: Annotated[int, pydantic_v1.Field(10)]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (
            made,
            r"made: 'tags' has a default in Query\(…\) of fastapi, which has no effect here: write it as the",
        ),
        (filled, r"'limit' has a default in Field\(…\) of pydantic"),
        (emptied, r"'limit' has a default in Field\(…\) of pydantic"),
        (of_v1, r"'limit' has a default in Field\(…\) of pydantic"),
    ],
)
def test_a_default_in_the_metadata_of_a_type_is_refused(handler: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        method(handler)


async def unlimited(
    self: Any,
    path: Annotated[int, Path(description="the number")],
    query: Annotated[int, Query()],
    same: Annotated[int, Query(alias="same")],
    body: Annotated[int, Body()],
    field: Annotated[int, pydantic.Field(title="a number")],
    needed: Annotated[int, pydantic.Field(...), Query(...)],
) -> None: ...


def test_a_marker_without_a_limit_passes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method(unlimited)


async def upload(self: Any, photo: UploadFile) -> None: ...
async def uploads(self: Any, photos: "list[UploadFile] | None" = None) -> None: ...
async def of_starlette(self: Any, photo: datastructures.UploadFile) -> None: ...
async def request(self: Any, request: Request) -> None: ...
async def response(self: Any, response: Response) -> None: ...
async def json_response(self: Any, response: responses.JSONResponse) -> None: ...
async def socket(self: Any, socket: WebSocket) -> None: ...
async def tasks(self: Any, tasks: BackgroundTasks) -> None: ...


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (upload, r"upload: 'photo' is UploadFile of fastapi, which .*: write `photo: fastrpc\.Upload`"),
        (uploads, r"'photos' is UploadFile of fastapi, .*: write `photos: fastrpc\.Upload`"),
        (of_starlette, r"'photo' is UploadFile of starlette, .*: write `photo: fastrpc\.Upload`"),
        (request, r"'request' is Request of starlette, .*: leave it out: .* current_call\(\)\.http\(…\)"),
        (response, r"'response' is Response of starlette, .*: current_call\(\)\.http\(…\) sets status and"),
        (json_response, r"'response' is JSONResponse of starlette, .*: current_call\(\)\.http\(…\)"),
        (tasks, r"'tasks' is BackgroundTasks of fastapi, .*: leave it out: .* `with fastrpc\.detached\(\):`"),
        (socket, r"'socket' is WebSocket of starlette, .*: write `socket: AsyncIterator\[T\]`"),
    ],
)
def test_an_object_of_a_request_is_refused_with_its_replacement(handler: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        method(handler)


def test_a_class_of_the_program_with_such_a_name_passes() -> None:
    class Request(msgspec.Struct):
        item: str

    async def ask(self: Any, request: Request) -> None: ...

    method(ask)


async def queried(self: Any, limit: Annotated[int, Query(ge=1)] = 10) -> None: ...
async def positive(self: Any, limit: pydantic.PositiveInt = 10) -> None: ...
async def late(self: Any, limit: "Annotated[int, pydantic.Field(ge=1)]" = 10) -> None: ...
async def optional(self: Any, limit: pydantic.PositiveInt | None = None) -> None: ...
async def listed(self: Any, limit: list[Annotated[int, pydantic.Field(ge=1)]]) -> None: ...
async def first(self: Any, limit: Annotated[int, pydantic_v1.Field(ge=1)]) -> None: ...
async def fed(self: Any, limit: AsyncIterator[Annotated[int, pydantic.Field(ge=1)]]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "marker"),
    [
        (queried, r"Query\(…\) of fastapi"),
        (positive, r"Gt\(…\) of annotated_types"),
        (late, r"Field\(…\) of pydantic"),
        (optional, r"Gt\(…\) of annotated_types"),
        (listed, r"Field\(…\) of pydantic"),
        (first, r"Field\(…\) of pydantic"),
        (fed, r"Field\(…\) of pydantic"),
    ],
)
def test_a_limit_that_is_not_checked_is_warned_of_at_its_line(handler: Any, marker: str) -> None:
    with pytest.warns(
        UserWarning, match=rf"{marker} at 'limit' is not checked here: write msgspec\.Meta"
    ) as noted:
        method(handler)
    (only,) = noted
    assert (only.filename, only.lineno) == (__file__, handler.__code__.co_firstlineno)


T = TypeVar("T")


@service("later")
class Later:
    @method
    async def depends(self, by: "Annotated[User, Depends(user)]") -> None: ...

    @method
    async def streamed(self, by: AsyncIterator["Annotated[User, Depends(user)]"]) -> None: ...

    @method
    async def upload(self, photo: "Photo") -> None: ...

    @method
    async def limits(self, limit: "Annotated[User, pydantic.Field(ge=1)]") -> None: ...

    @method
    async def header(self, by: "Annotated[User, Header()]") -> None: ...


class Of(Generic[T]):
    @method
    async def depends(self, by: T) -> None: ...


@service("of")
class OfUser(Of[Annotated[str, Depends(user)]]): ...


class User(msgspec.Struct): ...


class Photo(UploadFile): ...


def definition_of(owner: type[Any], name: str) -> MethodDefinition:
    return service_definition(owner).methods[name]


@pytest.mark.parametrize(("owner", "name"), [(Later, "depends"), (Later, "streamed"), (OfUser, "depends")])
def test_a_dependency_is_refused_once_its_type_is_known(owner: type[Any], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: 'by' is Depends\(…\) of fastapi"):
        definition_of(owner, name).types()


def test_a_header_is_refused_once_its_type_is_known() -> None:
    with pytest.raises(ConfigError, match=r"header: 'by' is Header\(…\) of fastapi, which is not read here"):
        definition_of(Later, "header").types()


def test_an_upload_is_refused_once_its_type_is_known() -> None:
    with pytest.raises(ConfigError, match=r"upload: 'photo' is Photo of tests, .*fastrpc\.Upload"):
        definition_of(Later, "upload").types()


@dataclasses.dataclass
class Line:
    count: int = pydantic.Field(ge=1)


@pydantic.dataclasses.dataclass
class Order:
    name: str
    count: int = pydantic.Field(default=1, ge=1)


class Row(NamedTuple):
    count: int = pydantic.Field(default=1)


class Basket(msgspec.Struct):
    lines: list[Line]


@pytest.mark.parametrize(
    "kind", [Line, Order, Row, Basket, list[Order], Order | None, AsyncIterator[dict[str, Line]]]
)
def test_a_class_whose_default_is_a_marker_is_refused(kind: Any) -> None:
    @service("orders")
    class Orders:
        @method
        async def put(self, order: kind) -> None: ...

    with pytest.raises(
        ConfigError, match=r"put: the default of 'count' in \w+, of 'order', is Field\(…\) of pydantic"
    ):
        definition_of(Orders, "put").types()


class Delivery(pydantic.BaseModel):
    order: Order
    lines: list[Line]


@pydantic.dataclasses.dataclass
class Plain:
    name: Annotated[str, pydantic.Field(title="a name")]
    count: int = 1


@pytest.mark.parametrize("kind", [Delivery, list[Delivery], Plain])
def test_a_class_is_taken_whose_markers_pydantic_reads_or_are_no_defaults(kind: Any) -> None:
    @service("deliveries")
    class Deliveries:
        @method
        async def put(self, delivery: kind) -> Order:
            raise NotImplementedError

    assert definition_of(Deliveries, "put").types() == ((kind,), Order, None)


def test_a_message_of_protobuf_without_a_module_is_taken() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="without_module.proto", syntax="proto3")
    file.message_type.add(name="Ping")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("Ping"))

    @service("pings")
    class Pings:
        @method
        async def send(self, ping: message) -> None: ...

    assert message.__module__ is None
    assert definition_of(Pings, "send").types().parameters == (message,)


def test_a_limit_is_warned_of_once_its_type_is_known() -> None:
    definition = definition_of(Later, "limits")
    with pytest.warns(
        UserWarning, match=r"limits: Field\(…\) of pydantic at 'limit' is not checked"
    ) as noted:
        assert definition.types() is definition.types()
    assert len(noted) == 1


def test_a_limit_that_was_warned_of_is_not_told_again() -> None:
    with pytest.warns(UserWarning, match="is not checked here"):

        @service("told")
        class Told:
            limit = method(positive)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        definition_of(Told, "limit").types()


def limited_classes() -> list[Any]:
    @dataclasses.dataclass
    class Plain:
        limit: Annotated[int, pydantic.Field(ge=1)] = 10

    @pydantic.dataclasses.dataclass
    class OfPydantic:
        limit: pydantic.PositiveInt = 10

    class Fields(TypedDict):
        limit: list[Annotated[int, pydantic.Field(ge=1)]]

    class Record(msgspec.Struct):
        limit: Annotated[int, Query(ge=1)]

    return [Plain, OfPydantic, Fields, Record]


@pytest.mark.parametrize("at", range(4))
def test_a_limit_of_a_field_is_warned_of_once_for_its_class(at: int) -> None:
    kind: Any = limited_classes()[at]

    @service("limited")
    class Limited:
        @method
        async def first(self, page: list[kind]) -> None: ...

        @method
        async def second(self, page: kind) -> None: ...

    with pytest.warns(
        UserWarning,
        match=rf"first: \w+\(…\) of \w+ at 'limit' in {kind.__name__}, of 'page', is not checked here: write msgspec",
    ) as noted:
        definition_of(Limited, "first").types()
        definition_of(Limited, "second").types()
    (only,) = noted
    assert (only.filename, only.lineno) == (__file__, Limited.first.__code__.co_firstlineno)


class Page(pydantic.BaseModel):
    limit: Annotated[int, pydantic.Field(ge=1)] = 10


class Book(msgspec.Struct):
    pages: list[Page]
    number: Annotated[int, msgspec.Meta(ge=1)]


async def checked(
    self: Any, page: Page, book: Book, most: Annotated[int, msgspec.Meta(ge=1)] = 10
) -> None: ...


def test_limits_that_are_checked_pass() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @service("books")
        class Books:
            put = method(checked)

        definition_of(Books, "put").types()


async def field_of_form(self: Any, user: Annotated[str, Form()]) -> None: ...
async def file_of_form(self: Any, photo: Annotated[Upload, File()]) -> None: ...


@pytest.mark.parametrize("handler", [field_of_form, file_of_form])
def test_a_marker_that_says_what_holds_here_is_taken(handler: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method(handler)
