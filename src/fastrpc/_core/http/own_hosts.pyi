from collections.abc import Iterable
from typing import final

@final
class OwnHosts:
    """The hosts of an HTTP server: listed names, addresses.

    Args:
        listed: names in lower case; "*.shop.example" lists the subdomains of a name at any depth, "*" accepts requests
            to any host.
    """

    def __init__(self, listed: Iterable[str]) -> None: ...
    def __contains__(self, host: bytes) -> bool: ...
    @property
    def takes_any(self) -> bool: ...
