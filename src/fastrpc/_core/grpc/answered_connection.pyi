from typing import final

from fastrpc._core.http2.stream_handler import StreamHandler

@final
class AnswerHead:
    """The head of an answer."""

    @property
    def is_grpc(self) -> bool: ...
    @property
    def http_status(self) -> bytes: ...
    @property
    def compressor(self) -> int: ...
    @property
    def encoding(self) -> bytes | None: ...
    @property
    def metadata(self) -> bytes | None: ...

@final
class AnswerEnd:
    """The end of an answer: its status, and the metadata of its trailers."""

    @property
    def status(self) -> int: ...
    @property
    def text(self) -> bytes: ...
    @property
    def outcome(self) -> int: ...
    @property
    def pushback_ms(self) -> int: ...
    @property
    def details(self) -> bytes: ...
    @property
    def metadata(self) -> bytes | None: ...

@final
class GrpcAnswer:
    """The answer to a call, as far as received."""

class AnsweredConnection(StreamHandler):
    """The half of a client's connection that takes answers."""
