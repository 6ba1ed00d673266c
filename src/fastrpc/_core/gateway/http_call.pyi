from typing import final

from fastrpc._core.serving.exchange import Failure

@final
class HttpTerms:
    """What a request says of its call."""

@final
class Outcome:
    """What became of a call that is a part of a request."""

    def __init__(self, value: bytes | None, failure: Failure | None) -> None: ...
    @property
    def value(self) -> bytes | None:
        """The encoded result; None: the call failed."""

    @property
    def failure(self) -> Failure | None: ...
