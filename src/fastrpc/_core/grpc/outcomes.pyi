from typing import final

from fastrpc._core.link.contract import Flow
from fastrpc._core.link.failure import Failure

def failure_fields(failure: Failure, sent: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
    """Return the fields that report a failure, in addition to fields of metadata: token, name, value."""

@final
class GrpcOutcomes(Flow):
    """The answers of one connection that speaks gRPC."""
