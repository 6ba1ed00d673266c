from typing import final

@final
class RequestHeads:
    """The heads of the requests of one connection.

    Args:
        scheme: "http" or "https".
        authority: the host and port of the server.
        agent: the name and version of this program.
        credential: the token to show with each call, or None.
    """

    def __init__(self, scheme: str, authority: str, agent: str, credential: bytes | None) -> None: ...
