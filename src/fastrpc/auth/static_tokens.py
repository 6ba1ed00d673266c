"""Tokens that are listed in the program or in a file."""

import hashlib
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final, Self

from fastrpc._core.server.access import DigestTable
from fastrpc.auth.verdict import BEARER, Answer, Presented, Refusal, Verdict
from fastrpc.errors import ConfigError
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.token import checked_token
from fastrpc.watched_file import WatchedFile

__all__ = ["StaticTokens"]

_HOW: Final = 'write [[token]] with token = "…" or sha256 = "…", name = "…", roles = […]'
_KEYS: Final = frozenset({"token", "sha256", "name", "roles", "claims"})
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")

logger = logging.getLogger("fastrpc.audit")


class _Table:
    """Identities by the digests of their tokens."""

    def __init__(self, found: Mapping[bytes, Identity]) -> None:
        self.identities = tuple(found.values())
        self._numbers = DigestTable(tuple(found))

    def get(self, digest: bytes) -> Identity | None:
        number = self._numbers.find(digest)
        return None if number < 0 else self.identities[number]


class StaticTokens:
    """Identities by their tokens. Only the SHA-256 of each token is kept.

    ::

        StaticTokens({"s3cr3t": Identity("ada", roles={"admin"})})

    Tokens are compared by digests. Each comparison takes the same steps, so its duration reveals nothing about a token.

    Raises:
        TypeError: a token is not text, or its value is not an Identity.
        ConfigError: there is no token, or a token is empty, too long or not of visible ASCII characters.
    """

    def __init__(self, tokens: Mapping[str, Identity]) -> None:
        if not isinstance(tokens, Mapping):
            raise TypeError(
                f"StaticTokens takes a mapping of tokens to identities, not a {type(tokens).__name__}"
            )
        found: dict[bytes, Identity] = {}
        for token, identity in tokens.items():
            if not isinstance(identity, Identity):
                # The text omits the token, which is a secret.
                raise TypeError(
                    f"the identity of a token is a {type(identity).__name__}, it must be an Identity"
                )
            found[_digest(checked_token(token))] = identity
        if not found:
            raise ConfigError(
                "StaticTokens has no token: every caller would be refused",
                hint="write StaticTokens({token: Identity(name)})",
            )
        self._tokens = _Table(found)
        self._file: WatchedFile[_Table] | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Return the tokens of a TOML file, which is read again when it changes.

        ::

            [[token]]
            sha256 = "…"             # of the token, in hexadecimal; or token = "…"
            name = "ada"
            roles = ["admin"]

        A token that is removed from the file is refused from then on, on open connections too.

        Raises:
            ConfigError: the file cannot be used.
        """
        made = cls.__new__(cls)
        made._follow(WatchedFile(path, "the file of tokens", _read, logger=logger))
        return made

    def _follow(self, file: WatchedFile[_Table]) -> None:
        self._file, self._tokens = file, file.value

    @property
    def version(self) -> int:
        """A number that grows each time the file is read again."""
        return 0 if self._file is None else self._file.version

    @property
    def names(self) -> frozenset[str]:
        """The names of the identities."""
        return frozenset(identity.name for identity in self._tokens.identities)

    def look(self) -> None:
        """Check whether the file changed, at most once a second."""
        if self._file is not None and self._file.look():
            self._tokens = self._file.value

    def reload(self) -> None:
        """Read the file again now."""
        if self._file is not None and self._file.reload():
            self._tokens = self._file.value

    def handles(self, peer: Presented) -> bool:
        """Return whether the peer presents a token."""
        return peer.scheme == BEARER and peer.credentials is not None

    def verify(self, peer: Presented) -> Answer:
        """Return the identity of the peer's token, or a refusal."""
        if not self.handles(peer):
            return Refusal("it presents no token")
        digest = _digest(peer.credentials or "")
        identity = self._tokens.get(digest)
        return Refusal("its token is unknown") if identity is None else Verdict(identity)

    async def __call__(self, peer: Presented) -> Identity | None:
        """Return the identity of a peer's token; None if the token is unknown."""
        self.look()
        answer = self.verify(peer)
        return answer.identity if isinstance(answer, Verdict) else None

    def __repr__(self) -> str:
        source = "" if self._file is None else f" of {self._file.path!r}"
        return f"<StaticTokens{source}: {len(self._tokens.identities)} tokens>"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _read(text: str) -> _Table:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The error's text states the position and kind of the mistake, and quotes at most one character of the file.
        raise ConfigError(f"it is not TOML: {error}") from None
    entries = content.pop("token", None)
    if content or not isinstance(entries, list) or not entries:
        raise ConfigError("it has no list of tokens", hint=_HOW)
    found: dict[bytes, Identity] = {}
    for number, entry in enumerate(entries, 1):
        try:
            digest, identity = _entry(entry)
        except (ConfigError, TypeError) as error:
            hint = getattr(error, "hint", None)
            raise ConfigError(
                f"token {number}: {getattr(error, 'message', error)}", hint=hint or _HOW
            ) from None
        if digest in found:
            raise ConfigError(f"token {number} is listed twice", hint="remove one of the two")
        found[digest] = identity
    return _Table(found)


def _entry(entry: Any) -> tuple[bytes, Identity]:
    if not isinstance(entry, dict):
        raise ConfigError("it is not a table")
    if entry.keys() - _KEYS:
        # The text omits the key: it may be a token that was written in the wrong place.
        raise ConfigError(f"it has an unknown key, there are {', '.join(sorted(_KEYS))}")
    if ("token" in entry) == ("sha256" in entry):
        raise ConfigError("it needs either token or sha256")
    if "token" in entry:
        digest = _digest(checked_token(entry["token"]))
    elif isinstance(entry["sha256"], str) and _DIGEST.fullmatch(entry["sha256"]):
        digest = bytes.fromhex(entry["sha256"])
    else:
        raise ConfigError(
            "its sha256 is not 64 hexadecimal digits", hint="write what `printf %s TOKEN | sha256sum` prints"
        )
    if "name" not in entry:
        raise ConfigError("it has no name")
    return digest, Identity(entry["name"], roles=entry.get("roles", ()), claims=entry.get("claims", {}))
