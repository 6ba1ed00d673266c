from typing import final

@final
class Failure:
    """The answer to a call that failed.

    Args: status: the number of a status. text: each lone surrogate of it becomes "?", so that every protocol can write
        it. details: encoded in the codec of the call, or in msgpack. pushback_ms: milliseconds after which to retry; 0:
        not stated, all ones: do not retry. has_run: whether the handler, or an interceptor in its place, may have run.
        goes_on: whether it continues after the answer, so that its outcome is unknown.
    """

    def __init__(
        self,
        status: int,
        text: str,
        details: bytes = b"",
        *,
        pushback_ms: int = 0,
        has_run: bool = True,
        goes_on: bool = False,
    ) -> None: ...
    @property
    def status(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def details(self) -> bytes: ...
    @property
    def pushback_ms(self) -> int: ...
    @property
    def has_run(self) -> bool: ...
    @property
    def goes_on(self) -> bool: ...
