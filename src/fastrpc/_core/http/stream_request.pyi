from typing import final

from fastrpc._core.grpc.grpc_call import GrpcCall, GrpcHead
from fastrpc._core.http.service import HttpService
from fastrpc._core.http2.header_block import HeaderBlock
from fastrpc._core.link.failure import Failure
from fastrpc.server.web.form import WebCall

@final
class StreamRequests:
    """The finder of requests by gRPC-Web and Connect among the HTTP/2 streams at an address."""

    def __init__(self, service: HttpService) -> None: ...
    def find(self, call: GrpcCall, block: HeaderBlock, has_pages: bool) -> StreamRequest | None:
        """Return a request by gRPC-Web or Connect, or a request that is refused with an HTTP status; otherwise None.

        Args:
            has_pages: whether pages take all other requests, refused ones too.
        """

@final
class StreamRequest:
    """A request by gRPC-Web or Connect, translated for the engine of gRPC."""

    owed: int

    @property
    def grpc_head(self) -> GrpcHead: ...
    @property
    def refusal(self) -> tuple[list[tuple[int, bytes, bytes]], bytes] | None: ...
    @property
    def form(self) -> WebCall | None: ...
    @property
    def protocol(self) -> str: ...
    @property
    def is_unfit(self) -> bool: ...
    @property
    def is_plain(self) -> bool: ...
    @property
    def held(self) -> int: ...
    def translate(self, part: bytes, is_last: bool) -> bytes:
        """Return a part of the body in the form of gRPC.

        Raises:
            CallError: it is not base64.
        """

    def drop_body(self) -> None:
        """Free the kept parts of the body, as the request is answered."""

    def head_fields(
        self, call: GrpcCall, metadata: bytes | None, compressor: int
    ) -> list[tuple[int, bytes, bytes]] | None:
        """Return the fields of a head that is sent now, or None if it is sent with the whole answer."""

    def message(self, payload: bytes, compressor: int) -> bytes:
        """Return a message of the answer."""

    def end(self, call: GrpcCall, payload: bytes | None, failure: Failure | None) -> bytes:
        """Return the rest of an answer whose head was sent."""

    def note_answer(self, fields: dict[str, bytes]) -> None:
        """Keep the fields of an answer that caches may store."""

    def answer(
        self, call: GrpcCall, payload: bytes | None, failure: Failure | None
    ) -> tuple[list[tuple[int, bytes, bytes]], bytes]:
        """Return a whole answer: its fields and its content."""

    def refuse(
        self, call: GrpcCall, status: int, text: str, is_faulty: bool
    ) -> tuple[list[tuple[int, bytes, bytes]], bytes]:
        """Return the whole answer to a call that was not started."""
