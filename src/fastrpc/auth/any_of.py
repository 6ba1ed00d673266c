"""Several authenticators, for several kinds of credentials."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastrpc.auth.client_certificates import ClientCertificates
from fastrpc.auth.json_web_tokens import JWT
from fastrpc.auth.static_tokens import StaticTokens
from fastrpc.auth.verdict import Answer, Authenticator, Presented, Refusal, Verdict
from fastrpc.errors import ConfigError
from fastrpc.rpc.identity import Identity
from fastrpc.status import Status

__all__ = ["AnyOf"]


class AnyOf:
    """Accept what one of several authenticators accepts.

    Each credential is tried by the members that know its kind. A token that no member accepts is refused, even
    beside a certificate that one would accept.

    Raises:
        TypeError: a member is not an object of `fastrpc.auth`.
        ConfigError: there is no member, or two of them could give the same name to different callers.
    """

    def __init__(self, *members: Any) -> None:
        several: list[Authenticator] = []
        for member in members:
            if isinstance(member, AnyOf):
                several += member.members
            elif callable(getattr(member, "verify", None)) and callable(getattr(member, "handles", None)):
                several.append(member)
            else:
                raise TypeError(
                    f"AnyOf takes objects of fastrpc.auth, not {type(member).__name__}: a function alone is given"
                    " as authenticate=…"
                )
        if not several:
            raise ConfigError("AnyOf has no member: every caller would be refused")
        self.members: tuple[Authenticator, ...] = tuple(several)
        _check_names(self.members)

    @property
    def version(self) -> int:
        """Rises when a file of a member was read again."""
        return sum(member.version for member in self.members)

    def look(self) -> None:
        """Look whether files of members changed, at most once a second."""
        for member in self.members:
            member.look()

    def reload(self) -> None:
        """Read the files of all members again now."""
        for member in self.members:
            reload: Callable[[], None] | None = getattr(member, "reload", None)
            if reload is not None:
                reload()

    def handles(self, peer: Presented) -> bool:
        """Return whether a member knows this kind of credential."""
        return any(member.handles(peer) for member in self.members)

    def verify(self, peer: Presented) -> Answer | Awaitable[Answer]:
        """Return the first acceptance, or a refusal."""
        return self._verify(peer, [member for member in self.members if member.handles(peer)], [])

    def _verify(
        self, peer: Presented, members: list[Authenticator], refusals: list[Refusal]
    ) -> Answer | Awaitable[Answer]:
        for place, member in enumerate(members):
            answer = member.verify(peer)
            if isinstance(answer, Verdict):
                # A file may have changed since `_check_names`.
                return self._own(member, answer)
            if not isinstance(answer, Refusal):
                return self._wait(answer, peer, members[place + 1 :], refusals)
            refusals.append(answer)
        return _joined(refusals)

    async def _wait(
        self, first: Awaitable[Answer], peer: Presented, rest: list[Authenticator], refusals: list[Refusal]
    ) -> Answer:
        answer = await first
        if isinstance(answer, Verdict):
            return answer
        refusals.append(answer)
        following = self._verify(peer, rest, refusals)
        return following if isinstance(following, Verdict | Refusal) else await following

    def _own(self, member: Authenticator, verdict: Verdict) -> Answer:
        """Refuse the verdict of a listed token if its name is one that an issuer could give."""
        name = verdict.identity.name
        if isinstance(member, StaticTokens) and any(
            isinstance(other, JWT) and name.startswith(other.name_prefix) for other in self.members
        ):
            return Refusal(f"StaticTokens has {name!r}, which a JWT could name as well")
        return verdict

    async def __call__(self, peer: Presented) -> Identity | None:
        """Return who presents a credential; None if no member accepts it."""
        self.look()
        answer = self.verify(peer)
        if not isinstance(answer, Verdict | Refusal):
            answer = await answer
        return answer.identity if isinstance(answer, Verdict) else None

    def __repr__(self) -> str:
        return f"AnyOf({', '.join(map(repr, self.members))})"


def _joined(refusals: list[Refusal]) -> Refusal:
    """Return one refusal for several: it is final only if all are."""
    if not refusals:
        return Refusal("it presents no credential of a known kind")
    later = [one for one in refusals if one.status is Status.UNAVAILABLE]
    return later[0] if later else Refusal("; ".join(dict.fromkeys(one.reason for one in refusals)))


def _check_names(members: tuple[Authenticator, ...]) -> None:
    """Refuse members of which two could give one name: an issuer of tokens chooses the names in them."""
    issuers = [member for member in members if isinstance(member, JWT)]
    for place, issuer in enumerate(issuers):
        prefix = issuer.name_prefix
        for other in issuers[place + 1 :]:
            if prefix.startswith(other.name_prefix) or other.name_prefix.startswith(prefix):
                raise _clash(f"name_prefix {prefix!r} and {other.name_prefix!r} of two JWT")
        for member in members:
            if isinstance(member, StaticTokens):
                for name in sorted(member.names):
                    if name.startswith(prefix):
                        raise _clash(f"StaticTokens has {name!r}, JWT has name_prefix {prefix!r}")
            elif isinstance(member, ClientCertificates):
                for pattern in member.patterns:
                    if pattern.overlaps(prefix):
                        raise _clash(
                            f"ClientCertificates allows {pattern.text!r}, JWT has name_prefix {prefix!r}"
                        )


def _clash(text: str) -> ConfigError:
    return ConfigError(
        f"two members of AnyOf could give the same name: {text}",
        hint="give each JWT a name_prefix of its own",
    )
