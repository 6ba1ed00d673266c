from typing import final

from fastrpc._core.link.contract import Dialect, Forms

@final
class GrpcDialect(Dialect):
    """The words of gRPC for a call."""

@final
class GrpcForms(Forms):
    """Calls by gRPC, gRPC-Web and Connect."""
