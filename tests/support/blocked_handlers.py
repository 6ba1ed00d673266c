"""Handlers of grpc's server for threads that wait until a test releases them."""

import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["RESPONSE", "WAIT", "Blocked"]

RESPONSE = b"\x01\x01\x01"
#: Seconds that anything may take.
WAIT = 20


class Blocked:
    """Handlers that wait until their case ends."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()

    def unary(self, request: bytes, context: Any) -> bytes:
        self.begun.set()
        self.end.wait(WAIT)
        return RESPONSE

    def stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield RESPONSE
        self.begun.set()
        self.end.wait(WAIT)
