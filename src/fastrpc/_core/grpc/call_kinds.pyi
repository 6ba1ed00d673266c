from typing import final

from fastrpc._core.link.contract import Dialect, Flow, Forms, Handling

@final
class KindFlow(Flow):
    """Streams of calls of gRPC and of pages."""

@final
class KindDialect(Dialect):
    """The words for calls of gRPC and of pages."""

@final
class KindForms(Forms):
    """The forms of calls of gRPC and of pages."""

@final
class KindHandling(Handling):
    """The requests of pages, which are more than one message."""
