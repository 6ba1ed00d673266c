"""A token in a file, for the credentials of a client."""

import logging
import os
from typing import Final

from fastrpc.errors import ConfigError
from fastrpc.rpc.token import checked_token
from fastrpc.watched_file import WatchedFile

__all__ = ["TokenFile"]

_HOW: Final = "the file holds only the token; white space around it is ignored"

logger = logging.getLogger("fastrpc.audit")


class TokenFile:
    """The token in a file, which is read again when it changes: for the `credentials` of a client.

    ::

        Client("tls://bank:8972", credentials=TokenFile("/run/secrets/bank-token"))

    White space around the token is ignored. If the file becomes unusable, the previous token stays in use.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = WatchedFile(path, "the token file", _read, logger=logger)

    def __call__(self) -> str:
        """Return the token for a new connection."""
        self._file.look()
        return self._file.value

    def __repr__(self) -> str:
        # The token itself is left out.
        return f"<TokenFile {self._file.path!r}>"


def _read(text: str) -> str:
    try:
        return checked_token(text.strip(" \t\r\n"))
    except ConfigError as error:
        raise ConfigError(error.message, hint=error.hint or _HOW) from None
