from typing import final

from fastrpc._core.link.contract import Flow
from fastrpc._core.link.failure import Failure

def failure_fields(failure: Failure, sent: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
    """Return the fields (token, name, value) that report a failure; `sent` are the fields of the metadata."""

@final
class GrpcOutcomes(Flow):
    """The answers of one connection that speaks gRPC."""
