from typing import final

class RequestRefusedError(Exception):
    """A request that is answered with this status; a connection of HTTP/1.1 closes after it."""

    status: int
    text: str
    def __init__(self, status: int, text: str) -> None: ...

@final
class RequestLimits:
    """The limits of the requests on a connection.

    Args:
        header_seconds: for a head from its first byte on, and for the first one from the start of the connection.
        idle_seconds: between two requests.
        body_idle_seconds: between two pieces of a body, and while the peer reads nothing of an answer.
        headers: fields of a head, and of the trailers of a body.
        header_bytes: their bytes.
        target_bytes: bytes of the target.
    """

    header_seconds: float
    idle_seconds: float
    body_idle_seconds: float
    headers: int
    header_bytes: int
    target_bytes: int
    def __init__(
        self,
        *,
        header_seconds: float = 5,
        idle_seconds: float = 75,
        body_idle_seconds: float = 10,
        headers: int = 100,
        header_bytes: int = 32_768,
        target_bytes: int = 8_192,
    ) -> None: ...

class RequestHead:
    """Method, target and fields of a request that may be answered."""

    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str:
        """The path with the query, as it was sent; `*` of OPTIONS."""

    @property
    def path(self) -> str: ...
    @property
    def query(self) -> str: ...
    @property
    def version(self) -> str:
        """The version of HTTP: "1.0", "1.1", "2"."""

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The names in lower case with their values, in order."""

    @property
    def host(self) -> str:
        """The host that the client asks, with its port; "" where an old client names none."""

    @property
    def content_length(self) -> int:
        """The bytes of the body; -1 where they are not stated, as of chunks."""

    @property
    def protocol(self) -> bytes | None:
        """The protocol of a tunnel that an extended CONNECT asks for (RFC 8441)."""

    @property
    def has_body(self) -> bool: ...
    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body."""

    def values(self, name: str) -> list[str]:
        """Return the values of a field by its name in lower case."""

def head_of_fields(
    method: bytes,
    target: bytes,
    pairs: list[tuple[bytes, bytes]],
    limits: RequestLimits,
    content_length: int = -1,
    is_whole: bool = False,
    protocol: bytes | None = None,
) -> RequestHead:
    """Return the head of a request by HTTP/2, whose fields are checked one by one already.

    Args:
        pairs: names in lower case and values, Host among them.
        content_length: as it is stated there; -1: it is not.
        is_whole: whether the stream ends with the head, so that there is no body.
        protocol: the protocol that an extended CONNECT asks for (RFC 8441).

    Raises:
        RequestRefusedError: it is refused.
    """
