from typing import final

from fastrpc._core.link.contract import Dialect, Forms

@final
class GrpcDialect(Dialect):
    """gRPC's error texts and statuses for a call."""

@final
class GrpcForms(Forms):
    """Calls by gRPC, gRPC-Web and Connect."""
