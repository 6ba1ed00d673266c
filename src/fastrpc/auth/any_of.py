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
    """Accepts each credential that one of several authenticators accepts.

    Each credential is tried by the members that know its kind. A token that no member accepts is refused, even if its
    owner also presents an acceptable certificate.

    Raises:
        TypeError: a member is not an object of `fastrpc.auth`.
        ConfigError: there is no member, or two members could give the same name to different callers.
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
                    f"AnyOf takes objects of fastrpc.auth, not {type(member).__name__}:"
                    " pass a single function as authenticate=… instead"
                )
        if not several:
            raise ConfigError(
                "AnyOf has no member: every caller would be refused",
                hint="write AnyOf(JWT(…), StaticTokens(…))",
            )
        self.members: tuple[Authenticator, ...] = tuple(several)
        _check_names(self.members)

    @property
    def version(self) -> int:
        """A number that grows each time a member reads its file again."""
        return sum(member.version for member in self.members)

    def look(self) -> None:
        """Check whether files of members changed, at most once a second."""
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
                # Names are checked again: a member's file may have changed since `_check_names`.
                return self._own(member, answer)
            if not isinstance(answer, Refusal):
                return self._wait(member, answer, peer, members[place + 1 :], refusals)
            refusals.append(answer)
        return _joined(refusals)

    async def _wait(
        self,
        member: Authenticator,
        first: Awaitable[Answer],
        peer: Presented,
        rest: list[Authenticator],
        refusals: list[Refusal],
    ) -> Answer:
        answer = await first
        if isinstance(answer, Verdict):
            return self._own(member, answer)
        refusals.append(answer)
        following = self._verify(peer, rest, refusals)
        return following if isinstance(following, Verdict | Refusal) else await following

    def _own(self, member: Authenticator, verdict: Verdict) -> Answer:
        """Return a verdict, or a refusal if it comes from a listed token whose name an issuer could also give out."""
        if isinstance(member, StaticTokens):
            for other in self.members:
                clash = _clash_of_name(verdict.identity.name, other)
                if clash is not None:
                    return Refusal(clash)
        return verdict

    async def __call__(self, peer: Presented) -> Identity | None:
        """Return the identity of a credential; None if no member accepts it."""
        self.look()
        answer = self.verify(peer)
        if not isinstance(answer, Verdict | Refusal):
            answer = await answer
        return answer.identity if isinstance(answer, Verdict) else None

    def __repr__(self) -> str:
        return f"AnyOf({', '.join(map(repr, self.members))})"


def _joined(refusals: list[Refusal]) -> Refusal:
    """Return one refusal for several: it is final only if all of them are."""
    if not refusals:
        return Refusal("it presents no credential of a known kind")
    later = [one for one in refusals if one.status is Status.UNAVAILABLE]
    return later[0] if later else Refusal("; ".join(dict.fromkeys(one.reason for one in refusals)))


def _check_names(members: tuple[Authenticator, ...]) -> None:
    """Refuse members if two of them could give one name to different callers.

    An issuer chooses the names in its tokens and certificates, within a name prefix or a pattern with a star. Names
    that are listed in full are chosen by the server's owner.
    """
    for place, member in enumerate(members):
        for other in members[:place]:
            clash = _clash_of(member, other) or _clash_of(other, member)
            if clash is not None:
                raise ConfigError(
                    f"two members of AnyOf could give the same name: {clash}",
                    hint="give each member a different prefix of names, such as JWT(…, name_prefix=…)",
                )


def _clash_of(member: Authenticator, other: Authenticator) -> str | None:
    """Return why the issuer of `other` could give out a name of `member`; None if it could not."""
    if isinstance(member, StaticTokens):
        clashes = (_clash_of_name(name, other) for name in sorted(member.names))
        return next((clash for clash in clashes if clash is not None), None)
    if isinstance(member, JWT) and isinstance(other, JWT):
        mine, theirs = member.name_prefix, other.name_prefix
        if mine.startswith(theirs):
            return f"name_prefix {theirs!r} and {mine!r} of two JWT"
    elif isinstance(member, ClientCertificates) and isinstance(other, JWT):
        for pattern in member.patterns:
            if pattern.overlaps(other.name_prefix):
                return (
                    f"ClientCertificates allows {pattern.text!r}, JWT has name_prefix {other.name_prefix!r}"
                )
    elif (
        isinstance(member, ClientCertificates)
        and isinstance(other, ClientCertificates)
        and member.by != other.by
    ):
        for pattern in member.patterns:
            for wide in other.patterns:
                if wide.has_star and pattern.overlaps(wide.text[:-1]):
                    return f"ClientCertificates allows {pattern.text!r}, and another one {wide.text!r}"
    return None


def _clash_of_name(name: str, other: Authenticator) -> str | None:
    """Return why the issuer of `other` could give out the name of a listed token; None if it could not."""
    if isinstance(other, JWT) and name.startswith(other.name_prefix):
        return f"StaticTokens has {name!r}, JWT has name_prefix {other.name_prefix!r}"
    if isinstance(other, ClientCertificates):
        for pattern in other.patterns:
            if pattern.has_star and pattern.matches_text(name):
                return f"StaticTokens has {name!r}, ClientCertificates allows {pattern.text!r}"
    return None
