from typing import final

@final
class GrpcHead:
    """The head of a call: its method, timeout, compressors and metadata, or the fault of its request."""

    @property
    def name(self) -> bytes: ...
    @property
    def http_status(self) -> int: ...
    @property
    def status(self) -> int: ...
    @property
    def fault(self) -> str | None: ...
    @property
    def timeout_us(self) -> int: ...
    @property
    def is_late(self) -> bool: ...
    @property
    def compressor(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def encoding(self) -> str | None: ...
    @property
    def attempt(self) -> int: ...
    @property
    def metadata(self) -> bytes | None: ...

@final
class RequestHeads:
    """The heads of the requests of one connection.

    Args:
        scheme: "http" or "https".
        authority: the host and port of the server.
        agent: the name and version of this program.
        credential: the token to show with each call, or None.
    """

    def __init__(self, scheme: str, authority: str, agent: str, credential: bytes | None) -> None: ...
