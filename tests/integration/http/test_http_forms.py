"""Files of forms: the fields, the bytes as they come, refusals, and pages of other origins."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pytest

import fastrpc
from fastrpc import (
    HTTP,
    CallError,
    Client,
    Identity,
    Limits,
    Memory,
    Server,
    ServerConfig,
    SyncClient,
    Upload,
)
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import StaticTokens
from fastrpc.errors import ConfigError
from fastrpc.openapi.document import openapi_document
from fastrpc.rpc.description import describe
from fastrpc.rpc.marshals import check_service
from fastrpc.rpc.service import service_definition
from tests.support.http_talk import HttpClient, request, soon
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

FORM = "multipart/form-data; boundary=XyZ"
LAST = b"--XyZ--\r\n"
PUT = "/photos/put"


@dataclass
class Place:
    x: int
    y: int


@fastrpc.service("photos")
class Photos:
    def __init__(self) -> None:
        self.began, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.seen: list[Any] = []

    @fastrpc.method(http="POST /albums/{album}/photos")
    async def put(
        self,
        photo: Upload,
        album: str,
        stars: int = 0,
        tags: tuple[str, ...] = (),
        place: Place | None = None,
    ) -> list[Any]:
        self.began.set()
        await self.go.wait()
        try:
            content = b"".join([piece async for piece in photo])
        except BaseException as error:
            self.seen.append(error)
            raise
        self.seen.append(content)
        return [photo.filename, photo.content_type, album, stars, list(tags), place, len(content)]

    @fastrpc.method(http="PUT /albums/{album}")
    async def name(self, album: str, title: str, tags: tuple[str, ...] = ()) -> list[Any]:
        self.seen.append(title)
        return [album, title, list(tags)]

    @fastrpc.method(http="POST /places")
    async def place(self, place: Place) -> Place:
        return place

    @fastrpc.method
    async def parts(self, photo: Upload) -> AsyncIterator[int]:
        async for piece in photo:
            yield len(piece)

    @fastrpc.method
    async def first(self, photo: Upload) -> str:
        async for piece in photo:
            return piece.decode()
        return ""


def field(name: str, value: str) -> bytes:
    return f'--XyZ\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(content: bytes = b"abc", name: str = "photo", filename: str = "a.jpg") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: image/jpeg\r\n'
    return b"--XyZ\r\n" + head.encode() + b"\r\n" + content + b"\r\n"


WHOLE = field("album", "a") + file() + LAST


@contextlib.asynccontextmanager
async def serving(photos: Photos, *, authenticate: Any = None, **options: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("native", "http"), **options)
    async with Server(photos, config=config, authenticate=authenticate) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as client:
            client.address = address  # type: ignore[attr-defined]
            yield client


def endless(path: str = PUT, **fields: str | None) -> bytes:
    """Return the head of a form whose body comes in chunks."""
    given: dict[str, str | None] = {
        "Content_Length": None,
        "Transfer_Encoding": "chunked",
        "Content_Type": FORM,
    }
    return request("POST", path, b"", **(given | fields))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_a_file_comes_after_the_arguments_in_its_form() -> None:
    async with serving(Photos()) as client:
        body = field("album", "é") + field("stars", "5") + field("tags", "x") + field("tags", "y")
        body += field("place", '{"x": 1, "y": 2}') + file(b"\r\n--Xy" * 30_000, filename="../b.jpg") + LAST
        answer = await client.post(PUT, body, Content_Type=FORM)
        place = {"x": 1, "y": 2}
        assert (answer.status, answer["content-type"]) == (200, "application/json")
        assert answer.value == ["b.jpg", "image/jpeg", "é", 5, ["x", "y"], place, 180_000]
        answer = await client.post(PUT, WHOLE, Content_Type=FORM)
        assert answer.value == ["a.jpg", "image/jpeg", "a", 0, [], None, 3]


async def test_a_route_has_arguments_in_its_path_and_in_the_form() -> None:
    async with serving(Photos()) as client:
        answer = await client.post(
            "/albums/b%20c/photos", field("stars", "4") + file() + LAST, Content_Type=FORM
        )
        assert answer.value[2:4] == ["b c", 4]
        answer = await client.post("/albums/b/photos", WHOLE, Content_Type=FORM)
        assert answer.status == 400
        assert "album" in answer.value["detail"]
        for kind in ("application/json", "application/x-ndjson", "application/x-www-form-urlencoded", None):
            assert (await client.post("/albums/b/photos", {}, Content_Type=kind)).status == 415


async def test_other_callers_send_bytes_and_leave_the_texts_empty() -> None:
    async with Server(Photos(), config=ServerConfig(protocols=("native", "http"))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            expected = ["", "", "a", 0, [], None, 3]
            assert await client.call(Photos.put, [b"a", b"bc"], "a") == expected
            async with client.open(Photos.put, album="a") as photo:
                await photo.send(b"abc")
                await photo.end()
                assert await photo.receive() == expected
            async with client.stream(Photos.parts, [b"a", b"bc"]) as sizes:
                assert [size async for size in sizes] == [1, 2]
        blocking = SyncClient(str(address))
        assert await asyncio.to_thread(blocking.call, Photos.put, [b"abc"], "a") == expected
        await asyncio.to_thread(blocking.close)
        async with await HttpClient.to(address) as lines:
            body = b'{"arguments": {"album": "a"}}\n{"value": "YWJj"}\n'
            answer = await lines.post(PUT, body, Content_Type="application/x-ndjson")
            assert answer.value == expected


async def test_a_handler_starts_with_its_file_and_has_each_piece_as_it_comes() -> None:
    async with serving(Photos()) as client:
        client.send(endless("/photos/parts") + chunk(file(b"ab")[:-2]))
        assert (await client.head()).status == 200
        assert await client.chunk() == b'{"value":2}\n'
        client.send(chunk(b"cde"))
        assert await client.chunk() == b'{"value":3}\n'
        client.send(chunk(b"\r\n" + LAST) + b"0\r\n\r\n")
        assert await client.chunk() == b'{"end":{"metadata":{}}}\n'


async def test_a_client_may_wait_for_the_word_to_go_on() -> None:
    async with serving(Photos()) as client:
        client.send(request("POST", PUT, WHOLE, Content_Type=FORM, Expect="100-continue")[: -len(WHOLE)])
        assert (await client.head()).status == 100
        client.send(WHOLE)
        assert (await client.response()).value[0] == "a.jpg"


async def test_an_answer_before_the_end_of_a_file_closes() -> None:
    async with serving(Photos()) as client:
        client.send(endless("/photos/first") + chunk(file(b"first")[:-2]))
        answer = await client.response()
        assert (answer.value, answer["connection"]) == ("first", "close")
        client.send(chunk(b"more"))
        assert await client.is_closed()


async def test_a_caller_that_leaves_cancels_the_handler() -> None:
    photos = Photos()
    async with serving(photos) as client:
        client.send(endless() + chunk(field("album", "a") + file(b"ab")))
        await soon(photos.began)
        client.writer.transport.abort()
        await eventually(lambda: photos.seen)
        assert isinstance(photos.seen[0], asyncio.CancelledError)


REFUSED = [
    (LAST, "no file 'photo'"),
    (field("album", "a") + LAST, "no file 'photo'"),
    (field("album", "a") + field("album", "b") + file() + LAST, "given 2 times"),
    (field("color", "red") + WHOLE, "no such parameter"),
    (field("stars", "many") + WHOLE, "stars"),
    (file() + LAST, "album"),
    (file(name="image") + LAST, "only the part 'photo' must have a filename"),
    (field("album", "x" * 65_537) + file() + LAST, "more than 65536 bytes"),
    (field("tags", "") * 101 + WHOLE, "more than 100 fields"),
    (b"--XyZ\r\nbroken\r\n\r\n", "malformed"),
    (field("album", "a"), "ends before"),
]


@pytest.mark.parametrize(("body", "text"), REFUSED, ids=[text for _, text in REFUSED])
async def test_a_form_without_a_file_that_fits_starts_no_handler(body: bytes, text: str) -> None:
    photos = Photos()
    async with serving(photos) as client:
        answer = await client.post(PUT, body, Content_Type=FORM)
        assert answer.status == 400
        assert text in answer.value["detail"]
        assert not photos.began.is_set()


@pytest.mark.parametrize(
    ("end", "text"),
    [(file(), "follows the file"), (field("stars", "1") + LAST, "follows the file"), (b"", "ends before")],
)
async def test_a_handler_learns_that_its_form_is_malformed_after_the_file(end: bytes, text: str) -> None:
    photos = Photos()
    async with serving(photos) as client:
        client.send(endless() + chunk(field("album", "a") + file()[:-2]))
        await soon(photos.began)
        client.send(chunk(b"\r\n" + end) + b"0\r\n\r\n")
        answer = await client.response()
        assert answer.status == 400
        assert text in answer.value["detail"]
        assert isinstance(photos.seen[0], CallError)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Content_Type": "multipart/form-data"}, 400),
        ({"Content_Type": f"multipart/form-data; boundary={'x' * 71}"}, 400),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "multipart/mixed; boundary=XyZ"}, 415),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Accept": "image/png"}, 406),
    ],
)
async def test_another_type_is_refused(fields: dict[str, str], status: int) -> None:
    async with serving(Photos()) as client:
        answer = await client.post("/photos/parts", file() + LAST, **({"Content_Type": FORM} | fields))
        assert answer.status == status


async def test_a_method_whose_stream_is_no_upload_takes_no_form() -> None:
    @fastrpc.service("plain")
    class Plain:
        @fastrpc.method
        async def put(self, photo: AsyncIterator[bytes]) -> int:
            return len([piece async for piece in photo])

    async with Server(Plain(), config=ServerConfig(protocols=("http",))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            assert (await client.post("/plain/put", file() + LAST, Content_Type=FORM)).status == 415


async def test_an_unknown_sender_learns_nothing_of_a_form() -> None:
    photos = Photos()
    async with serving(photos, authenticate=StaticTokens({"ada-token": Identity("ada")})) as client:
        for body in (WHOLE, b"--XyZbroken", file(b"x" * 100_000)):
            async with await HttpClient.to(client.address) as other:  # type: ignore[attr-defined]
                answer = await other.post(PUT, body, Content_Type=FORM)
                assert answer.status == 401
                assert "form" not in answer.value["detail"]
        assert not photos.began.is_set()
        answer = await client.post(PUT, WHOLE, Content_Type=FORM, Authorization="Bearer ada-token")
        assert answer.value[0] == "a.jpg"


async def test_fields_are_bounded_as_a_message_and_count_as_held_memory() -> None:
    before = bytes_held()
    async with serving(Photos(), limits=Limits(message_bytes=100_000)) as client:
        client.send(endless() + chunk(field("album", "x" * 60_000) + field("color", "y" * 30_000)))
        await eventually(lambda: bytes_held() >= before + 90_000)
        client.send(chunk(field("tags", "x" * 30_000)))
        answer = await client.response()
        assert answer.status == 400
        assert "Limits.message_bytes" in answer.value["detail"]
        await eventually(lambda: bytes_held() == before)


async def test_fields_over_the_memory_of_the_process_are_refused() -> None:
    async with serving(Photos(), memory=Memory(process_bytes=bytes_held() + 200_000)) as client:
        client.send(endless())
        for number in range(20):
            client.send(chunk(field(f"field{number}", "x" * 50_000)))
        assert (await client.response()).status == 503


async def test_a_slow_handler_holds_its_caller_back() -> None:
    photos = Photos()
    photos.go.clear()
    before = bytes_held()
    async with serving(photos) as client:
        client.send(endless() + chunk(field("album", "a") + file(b"")[:-2]))
        for _ in range(300):
            client.send(chunk(b"x" * 100_000))
        await soon(photos.began)
        for _ in range(3_000):
            await asyncio.sleep(0)
        assert bytes_held() - before < 1_000_000
        photos.go.set()
        client.send(chunk(b"\r\n" + LAST) + b"0\r\n\r\n")
        assert (await client.response()).value[-1] == 30_000_000
        await eventually(lambda: bytes_held() == before)


# Forms without a file

PAIRS = "application/x-www-form-urlencoded"


async def test_a_route_takes_a_form_without_a_file() -> None:
    async with serving(Photos()) as client:
        send = partial(client.ask, "PUT", "/albums/a", Content_Type=PAIRS)
        for body, value in (
            (b"title=%C3%A9+%26&tags=x&tags=y", ["a", "é &", ["x", "y"]]),
            (b"title=&tags=%5Bx%5D", ["a", "", ["[x]"]]),
            (b"&title=b&", ["a", "b", []]),
            (b"title=" + b"x" * 65_000, ["a", "x" * 65_000, []]),
        ):
            answer = await send(body, Content_Length=str(len(body)))
            assert (answer.status, answer.value) == (200, value)


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/albums/a", b"title=b&title=c", 400, "given 2 times"),
        ("/albums/a", b"title=b&album=c", 400, "album"),
        ("/albums/a", b"title=b&color=c", 400, "no such parameter"),
        ("/albums/a", b"", 400, "title"),
        ("/albums/a", b"title=b" + b"&" * 100, 400, "at most 100 fields"),
        ("/albums/a", b"title=" + b"x" * 65_536, 400, "65536 bytes"),
        ("/albums/a", b"title=\xff", 400, "UTF-8"),
        ("/albums/a", b"title=%ff", 400, "UTF-8"),
    ],
)
async def test_a_form_without_a_file_that_does_not_fit_is_refused(
    path: str, body: bytes, status: int, text: str
) -> None:
    photos = Photos()
    async with serving(photos) as client:
        answer = await client.ask("PUT", path, body, Content_Type=PAIRS, Content_Length=str(len(body)))
        assert answer.status == status
        assert text in answer.value["detail"]
        assert photos.seen == []


async def test_forms_without_a_file_are_for_arguments_by_name_at_routes() -> None:
    async with serving(Photos()) as client:
        for path in ("/places", "/photos/name", "/photos/parts"):
            assert (await client.post(path, b"x=1", Content_Type=PAIRS)).status == 415


async def test_a_form_with_a_query_is_refused() -> None:
    photos = Photos()
    async with serving(photos) as client:
        answer = await client.post("/albums/a/photos?stars=3", file() + LAST, Content_Type=FORM)
        assert (answer.status, photos.seen) == (400, [])
        assert (
            "'stars': POST /albums/{album}/photos takes no query: its arguments are fields of the form"
            in (answer.value["detail"])
        )
        answer = await client.ask(
            "PUT", "/albums/a?title=b", b"title=b", Content_Type=PAIRS, Content_Length="7"
        )
        assert (answer.status, photos.seen) == (400, [])
        assert "takes no query" in answer.value["detail"]


# Pages in browsers: a form needs no preflight.

FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": "Same-Site"},
    {"Origin": "http://127.0.0.1", "Sec_Fetch_Site": "same-site"},
]


@pytest.mark.parametrize("path", [PUT, "/albums/a/photos"])
@pytest.mark.parametrize("fields", FOREIGN)
async def test_a_page_of_a_foreign_origin_sends_no_form(fields: dict[str, str], path: str) -> None:
    photos = Photos()
    async with serving(photos) as client:
        body = file() + LAST if path != PUT else WHOLE
        assert (await client.post(path, body, Content_Type=FORM, **fields)).status == 403
        async with await HttpClient.to(client.address) as other:  # type: ignore[attr-defined]
            body = b"title=a"
            length = str(len(body))
            answer = await other.ask(
                "PUT", "/albums/a", body, Content_Type=PAIRS, Content_Length=length, **fields
            )
            assert answer.status == 403
        assert not photos.began.is_set()
        assert photos.seen == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Origin": "http://127.0.0.1", "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "https://shop.example", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://shop.example", "Sec_Fetch_Site": "same-site"},
    ],
)
async def test_an_own_page_and_one_of_a_listed_origin_send_forms(fields: dict[str, str]) -> None:
    async with serving(Photos(), http=HTTP(cors_origins=("https://shop.example",))) as client:
        assert (await client.post(PUT, WHOLE, Content_Type=FORM, **fields)).status == 200


# Declarations.


def test_an_upload_is_a_stream_of_bytes_for_other_programs() -> None:
    (put, _, _, parts, _) = describe(Photos)["methods"]
    assert (put["kind"], parts["kind"]) == ("client_stream", "both_ways")
    assert put["stream"] == {"name": "photo", "type": "bytes", "position": 0, "upload": True}
    assert parts["signature"] == "parts(photo: AsyncIterator[bytes]) -> AsyncIterator[int]"


def test_an_upload_is_a_parameter_and_no_result() -> None:
    with pytest.raises(TypeError, match=r"has the result `Upload`, which is a parameter"):

        class Refused:
            @fastrpc.method
            async def get(self) -> Upload:
                raise NotImplementedError


def test_a_contract_with_an_upload_is_kept_by_a_stream_of_bytes_without_its_route() -> None:
    @fastrpc.service("store")
    class Contract(Protocol):
        @fastrpc.method(http="PUT /files")
        async def put(self, data: Upload) -> int: ...

    @fastrpc.service("store")
    class Streams(Contract):
        async def put(self, data: AsyncIterator[bytes]) -> int:  # type: ignore[override]
            return 0

    with pytest.raises(ConfigError, match="is not an `Upload`"):
        check_service(service_definition(Streams))


async def test_an_upload_of_a_test_is_made_of_any_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"

    upload = Upload(pieces(), filename="a.txt", content_type="text/plain")
    assert repr(upload) == "<Upload 'a.txt' 'text/plain'>"
    assert await Photos().put(upload, "x") == ["a.txt", "text/plain", "x", 0, [], None, 3]


def test_the_document_has_the_form() -> None:
    paths = json.loads(json.dumps(openapi_document([service_definition(Photos)])))["paths"]
    form = paths["/albums/{album}/photos"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(form["properties"]) == ["stars", "tags", "place", "photo"]
    assert form["properties"]["photo"] == {"type": "string", "format": "binary"}
    assert form["required"] == ["photo"]
    content = paths["/photos/put"]["post"]["requestBody"]["content"]
    assert list(content) == ["application/x-ndjson", "multipart/form-data"]
    assert content["multipart/form-data"]["schema"]["required"] == ["album", "photo"]
