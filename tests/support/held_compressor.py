"""A compressor that is installed for a test, and continues when the test releases it."""

import zlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from fastrpc.compressors.base import ENTRY_POINT_GROUP, Payload
from tests.support.own_package import forget_tables

__all__ = ["HeldCompressor", "install"]


class HeldCompressor:
    """Compresses in pieces, which wait while `is_held`; `error` is raised instead of the last one."""

    name = "held"
    wire_id = 70

    #: Payloads whose compression in pieces began, by their sizes.
    begun: list[int]
    is_held: bool
    error: Exception | None

    def compress(self, payload: Payload) -> bytes:
        return zlib.compress(payload)

    def compress_pieces(self, payload: Payload) -> Iterator[bytes]:
        self.begun.append(len(payload))
        while HeldCompressor.is_held:
            yield b""
        if HeldCompressor.error is not None:
            raise HeldCompressor.error
        yield zlib.compress(payload)

    def decompress(self, payload: Payload, max_size: int) -> bytes:
        return zlib.decompress(payload)


def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HeldCompressor]]:
    """Install it under the name `held`; for a fixture."""
    HeldCompressor.begun, HeldCompressor.is_held, HeldCompressor.error = [], True, None
    found = [EntryPoint("held", f"{__name__}:HeldCompressor", ENTRY_POINT_GROUP)]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: found if group == ENTRY_POINT_GROUP else []
    )
    forget_tables()
    yield HeldCompressor
    HeldCompressor.is_held = False
    forget_tables()
