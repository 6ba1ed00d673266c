"""The people who may change a server, and the checks of their requests before the body is read."""

import os
from typing import Final

from fastrpc._core.exchange.request_head import RequestHead
from fastrpc.auth.static_tokens import StaticTokens
from fastrpc.auth.verdict import BEARER, Verdict
from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity
from fastrpc.server.admin.access import AdminAccess
from fastrpc.server.admin.acts import ActRefusedError

__all__ = ["Operators"]

# White space in a header field (RFC 9110, section 5.6.3).
_SPACES: Final = " \t"


class Operators:
    """The operators of a server, and the rules for their requests.

    Args:
        file: the operators' tokens, in the format of `StaticTokens.from_file`.
        access: the rules for readers of pages. A reader's token does not suffice for acts.
        scheme: the scheme of URLs of the pages.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, file: str | os.PathLike[str], access: AdminAccess, scheme: str) -> None:
        self._tokens = StaticTokens.from_file(file)
        self._access = access
        self._scheme = scheme

    def reload(self) -> None:
        """Read the file again now."""
        self._tokens.reload()

    def judge(self, head: RequestHead) -> Identity:
        """Return the operator of a request for an act.

        A browser never sends a bearer token by itself, so a page of another site cannot act with the permissions of its
        reader. For the same reason the password of HTTP Basic is not accepted.

        Raises:
            ActRefusedError: the sender may not act.
        """
        refusal = self._access.refused_host(head)
        if refusal is not None:
            raise ActRefusedError(*refusal)
        operator = self._named_by(head)
        if operator is None:
            if self._access.is_reader(head):
                raise ActRefusedError(403, "the token of this request reads pages, it may not act")
            raise ActRefusedError(401, "the token of an operator is missing or wrong")
        if not self._is_own_page(head):
            raise ActRefusedError(403, "pages of other origins may not act")
        given = head.values("content-type")
        if len(given) != 1 or given[0].partition(";")[0].strip(_SPACES).lower() != "application/json":
            raise ActRefusedError(415, "the body must be application/json")
        return operator

    def _named_by(self, head: RequestHead) -> Identity | None:
        given = head.values("authorization")
        if len(given) != 1:
            return None
        scheme, _, token = given[0].partition(" ")
        if scheme.lower() != "bearer":
            return None
        self._tokens.look()
        answer = self._tokens.verify(Peer(Address("memory"), BEARER, token.strip(_SPACES)))
        return answer.identity if isinstance(answer, Verdict) else None

    def _is_own_page(self, head: RequestHead) -> bool:
        """Return whether a request was sent by a page of this server, or not by a page."""
        given = head.values("origin")
        if not given:
            return True
        scheme, _, host = given[0].lower().partition("://")
        return len(given) == 1 and scheme == self._scheme and host == head.host.lower()
