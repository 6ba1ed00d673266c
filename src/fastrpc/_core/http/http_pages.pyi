from typing import final

from fastrpc._core.exchange.pages import Pages
from fastrpc._core.http.service import HttpService
from fastrpc._core.link.contract import Dialect, Flow, Forms, Handling, Outcomes
from fastrpc.config import Keepalive

@final
class HttpPages(Pages):
    """The requests of one connection, and the outcomes of their calls.

    Args:
        keepalive: the ping settings for WebSockets of mounted applications.
    """

    def __init__(self, service: HttpService, keepalive: Keepalive) -> None: ...

@final
class HttpOutcomes(Outcomes):
    """The outcomes of the calls of requests."""

@final
class HttpFlow(Flow):
    """Messages of streams, each in the form that was chosen when the head of the request arrived."""

@final
class HttpDialect(Dialect):
    """The gateway's error texts and statuses; gRPC-Web, Connect, rpcx and Phobos have other ones."""

@final
class HttpForms(Forms):
    """Calls by JSON, gRPC-Web and others, and requests to mounted applications."""

@final
class HttpHandling(Handling):
    """Forms with files, silent streams, mounted applications."""
