class Http2ViolationError(Exception):
    """The peer broke a rule of HTTP/2 or HPACK: the connection or the stream ends with a code."""

    rule: int
    code: int
    text: str
    is_of_connection: bool

    def __init__(self, rule: int, text: str) -> None: ...

def violation_rows() -> dict[int, tuple[bool, int, str]]:
    """Return, by the number of each rule: whether the connection ends, the error code, and the text."""
