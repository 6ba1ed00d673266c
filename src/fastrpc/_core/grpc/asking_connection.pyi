from collections.abc import Callable
from typing import final

from fastrpc._core.calls.calling_part import CallingPart
from fastrpc._core.grpc.answered_connection import AnsweredConnection
from fastrpc.protocols.base import ClientParts

@final
class AskingConnection(AnsweredConnection):
    """The half of a client's connection that opens streams.

    Args: parts: the parts of the connection. calling: the part that makes the calls. scheme: "http", or "https" where
        the connection is encrypted. authority: the name of the server for requests. ping_interval: seconds without
        data after which a server with a call in progress is pinged; 0: never. validity: returns the seconds for
        which a token is valid, 0 if the token does not state them.
    """

    def __init__(
        self,
        parts: ClientParts,
        calling: CallingPart,
        *,
        scheme: str,
        authority: str,
        ping_interval: float,
        validity: Callable[[bytes], float],
    ) -> None: ...
