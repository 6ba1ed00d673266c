"""Signed tokens of an issuer (RFC 7519)."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastrpc.auth.key_set import MOST_RSA_BITS, MOST_TRIED, RSA_BITS, KeysAwayError, KeySet, parsed_keys
from fastrpc.auth.verdict import BEARER, Answer, Presented, Refusal, Verdict
from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.token import TOKEN_CHARACTERS
from fastrpc.status import Status

__all__ = ["JWT"]

#: The algorithms of RFC 7518 and RFC 8037 by the kind of their keys; `none` is excluded.
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "secret": ("HS256", "HS384", "HS512"),
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
_KIND_OF: Final = {name: kind for kind, names in _KINDS.items() for name in names}

_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}

#: The claims that are instants (RFC 7519, section 4.1); `exp` is required.
_INSTANTS: Final = frozenset({"exp", "nbf", "iat"})

_UNKNOWN_KEY: Final = Refusal("its token names a key that the issuer does not have")
_AWAY: Final = Refusal("the issuer's keys cannot be fetched", Status.UNAVAILABLE)

_PEM: Final = b"-----BEGIN"


@dataclass(frozen=True, slots=True)
class _Key:
    """A key with the algorithms that it verifies; a key from no set has no id."""

    id: str | None
    value: Any
    algorithms: tuple[str, ...]


class JWT:
    """Identities from JSON Web Tokens, whose signature, issuer, audience and expiry are checked.

    ::

        JWT("https://login.corp/keys", issuer="https://login.corp", audience="shop", algorithms=["RS256"])

    It needs the extra `jwt`.

    Args:
        keys: the URL of a key set (JWKS), by https, or http on loopback; a public key in PEM; for HS256, HS384 and
            HS512 a secret, at least as long as the digest. Or a list of PEM keys or secrets.
        issuer: the accepted `iss`.
        audience: the accepted `aud`, or several accepted ones; a token has to name one of them.
        algorithms: the accepted algorithms. `none` is refused, and secrets are refused together with public keys.
        leeway: seconds by which clocks may differ.
        name_claim: the claim with the name of the identity.
        roles_claim: the claim with the roles of the identity: a list, or one text of roles separated by spaces. The
            claim is optional.
        name_prefix: a prefix that is put before each name, to keep it distinct from the names of other authenticators.
        tls: the authorities to trust at the URL of a key set, such as `TLS(ca_file=…)`; None trusts the system's
            authorities.

    Raises:
        ConfigError: an argument is not usable, or the extra is not installed.
    """

    version = 0

    def __init__(
        self,
        keys: str | bytes | Sequence[str | bytes],
        *,
        issuer: str,
        audience: str | Sequence[str],
        algorithms: Sequence[str],
        leeway: float = 30,
        name_claim: str = "sub",
        roles_claim: str = "roles",
        name_prefix: str = "",
        tls: TLS | None = None,
    ) -> None:
        self._library = _library()
        self._algorithms = _checked_algorithms(algorithms)
        self._issuer = _checked_text("issuer", issuer)
        self._audience = _checked_audience(audience)
        if isinstance(leeway, bool) or not isinstance(leeway, int | float) or not 0 <= leeway <= 3600:
            raise ConfigError(f"leeway is {leeway!r}, it must be seconds from 0 to 3600")
        self._leeway = float(leeway)
        self._name_claim = _checked_text("name_claim", name_claim)
        self._roles_claim = _checked_text("roles_claim", roles_claim)
        if not isinstance(name_prefix, str):
            raise TypeError(f"name_prefix is {name_prefix!r}, it must be text")
        self.name_prefix = name_prefix
        self._wall_clock: Callable[[], float] = time.time
        self._set: KeySet | None = None
        self._keys: list[_Key] = []
        takes_secret = _KIND_OF[self._algorithms[0]] == "secret"
        if isinstance(keys, str) and _PEM.decode() not in keys and ("://" in keys or not takes_secret):
            self._take_set(keys, tls)
        elif tls is not None:
            raise ConfigError("tls is given, but keys is not an https URL", hint="leave tls out")
        else:
            given = [keys] if isinstance(keys, str | bytes) else list(keys)
            self._keys = [self._made(key) for key in given]
            if not self._keys:
                raise ConfigError("keys is empty: give a URL, public keys in PEM, or a secret")

    # Keys

    def _take_set(self, url: str, tls: TLS | None) -> None:
        if _KIND_OF[self._algorithms[0]] == "secret":
            raise ConfigError(
                "algorithms has HS algorithms, but keys is a URL of public keys: anyone could sign with one",
                hint='write algorithms=["RS256"]',
            )
        self._set = KeySet(url, lambda content: parsed_keys(content, self._of_set), tls=tls)

    def _made(self, key: Any) -> _Key:
        """Return the key for a PEM text or a secret."""
        raw = key.encode() if isinstance(key, str) else key
        if not isinstance(raw, bytes):
            raise TypeError(f"a key is a {type(key).__name__}, it must be a PEM text or a secret")
        kinds = {_KIND_OF[name] for name in self._algorithms}
        if _PEM in raw or raw.startswith((b"ssh-", b"ecdsa-")):
            if "secret" in kinds:
                raise ConfigError(
                    "algorithms has HS algorithms, but the key is public: anyone could sign with it",
                    hint='write algorithms=["RS256"]',
                )
            return self._public(raw)
        if kinds != {"secret"}:
            raise ConfigError(
                "keys is neither a URL nor a public key in PEM", hint="HS algorithms take a secret"
            )
        longest = max(int(name[2:]) for name in self._algorithms) // 8
        if len(raw) < longest:
            # RFC 7518, section 3.2. The text omits the secret.
            raise ConfigError(
                f"the secret has {len(raw)} bytes, {max(self._algorithms)} needs at least {longest}"
            )
        return _Key(None, raw, self._algorithms)

    def _public(self, pem: bytes) -> _Key:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from cryptography.x509 import load_pem_x509_certificate

        try:
            if b"BEGIN CERTIFICATE" in pem:
                value: Any = load_pem_x509_certificate(pem).public_key()
            else:
                value = load_pem_public_key(pem)
        except Exception:
            raise ConfigError(
                "a key is not a public key in PEM", hint="write -----BEGIN PUBLIC KEY-----…"
            ) from None
        found = self._usable(value)
        if not found:
            raise ConfigError(
                f"a key of {type(value).__name__} verifies none of {', '.join(self._algorithms)}",
                hint=f"RSA keys need {RSA_BITS} to {MOST_RSA_BITS} bits",
            )
        return _Key(None, value, found)

    def _of_set(self, entry: Mapping[str, Any]) -> _Key | None:
        try:
            value = self._library.PyJWK(dict(entry)).key
        except Exception:
            # The library does not know this kind of key; other keys of the set may be usable.
            return None
        stated = entry.get("alg")
        found = tuple(name for name in self._usable(value) if stated in (None, name))
        id = entry.get("kid")
        return _Key(id if isinstance(id, str) else None, value, found) if found else None

    def _usable(self, value: Any) -> tuple[str, ...]:
        """Return the accepted algorithms that a public key verifies."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

        if isinstance(value, rsa.RSAPublicKey):
            names = _KINDS["RSA"] if RSA_BITS <= value.key_size <= MOST_RSA_BITS else ()
        elif isinstance(value, ec.EllipticCurvePublicKey):
            names = tuple(name for name, curve in _CURVES.items() if curve == value.curve.name)
        elif isinstance(value, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            names = _KINDS["OKP"]
        else:
            names = ()
        return tuple(name for name in self._algorithms if name in names)

    # Tokens

    def look(self) -> None:
        """Do nothing: keys are renewed when tokens arrive."""

    def handles(self, peer: Presented) -> bool:
        """Return whether the peer presents a token."""
        return peer.scheme == BEARER and peer.credentials is not None

    def verify(self, peer: Presented) -> Answer | Awaitable[Answer]:
        """Return the identity in the peer's token, or a refusal; an awaitable if keys have to be fetched first."""
        token = peer.credentials
        if not self.handles(peer) or token is None:
            return Refusal("it presents no token")
        if len(token) > TOKEN_CHARACTERS or not token.isascii():
            return Refusal("its token is not a JWT")
        try:
            head = self._library.get_unverified_header(token)
        except self._library.PyJWTError:
            return Refusal("its token is not a JWT")
        algorithm, id = head.get("alg"), head.get("kid")
        if algorithm not in self._algorithms:
            return Refusal("its token is signed by an algorithm that is not accepted")
        if "crit" in head or "b64" in head:
            return Refusal("its token has header fields that are not understood")
        if self._set is None:
            return self._verified(token, algorithm, self._fitting(self._keys, algorithm, None))
        return self._by_set(self._set, token, algorithm, id if isinstance(id, str) else None)

    def _by_set(self, keys: KeySet, token: str, algorithm: str, id: str | None) -> Answer | Awaitable[Answer]:
        known = keys.current()
        if known is not None:
            fitting = self._fitting(known, algorithm, id)
            if fitting:
                keys.renew_if_due()
                return self._verified(token, algorithm, fitting)
            if not keys.begins_look():
                return _AWAY if keys.is_away else _UNKNOWN_KEY
        return self._after_fetch(keys, token, algorithm, id)

    async def _after_fetch(self, keys: KeySet, token: str, algorithm: str, id: str | None) -> Answer:
        try:
            known = await keys.fetched()
        except KeysAwayError:
            return _AWAY
        fitting = self._fitting(known, algorithm, id)
        if not fitting:
            return _UNKNOWN_KEY
        return self._verified(token, algorithm, fitting)

    def _fitting(self, keys: list[_Key], algorithm: str, id: str | None) -> list[_Key]:
        return [key for key in keys if algorithm in key.algorithms and (id is None or key.id == id)]

    def _verified(self, token: str, algorithm: str, keys: list[_Key]) -> Answer:
        if self._set is not None and len(keys) > MOST_TRIED:
            return Refusal(f"its token does not say by `kid` which of {len(keys)} keys signed it")
        reason = "it was signed by another key"
        for key in keys:
            try:
                claims = self._library.decode(
                    token,
                    key.value,
                    algorithms=[algorithm],
                    audience=self._audience,
                    issuer=self._issuer,
                    leeway=self._leeway,
                    options={"require": ["exp", "iss", "aud"]},
                )
            except self._library.InvalidSignatureError:
                continue
            except (self._library.PyJWTError, OverflowError) as error:
                # Earlier versions of the library do not catch the overflow of an infinite instant.
                reason = f"{type(error).__name__}"
                break
            return self._identified(claims)
        return Refusal(f"its token is refused: {reason}")

    def _identified(self, claims: dict[str, Any]) -> Answer:
        for claim in _INSTANTS & claims.keys():
            if not _is_instant(claims[claim]):
                return Refusal(f"the {claim} of its token is not a number")
        name = claims.get(self._name_claim)
        if not isinstance(name, str) or not name:
            return Refusal(f"its token has no text in {self._name_claim!r}")
        roles = claims.get(self._roles_claim, [])
        if isinstance(roles, str):
            roles = roles.split()
        if not isinstance(roles, list):
            return Refusal(f"its token has no list in {self._roles_claim!r}")
        try:
            # Check the name without the prefix, too: behind a prefix, `role:…` would be accepted as a name.
            Identity(name)
            identity = Identity(self.name_prefix + name, roles=roles, claims=claims)
        except (ConfigError, TypeError) as error:
            return Refusal(f"its token gives no identity: {getattr(error, 'message', error)}")
        return Verdict(identity, float(claims["exp"]) + self._leeway)

    async def __call__(self, peer: Presented) -> Identity | None:
        """Return the identity in a peer's token; None if it is refused."""
        answer = self.verify(peer)
        if not isinstance(answer, Verdict | Refusal):
            answer = await answer
        return answer.identity if isinstance(answer, Verdict) else None

    def __repr__(self) -> str:
        # The keys are left out, as one may be a secret.
        place = "" if self._set is None else f" with the keys at {self._set.url}"
        return f"<JWT of {self._issuer!r}{place}>"


def _is_instant(value: Any) -> bool:
    """Return whether a claim is a number of seconds; the library accepts texts and booleans as well."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        # The value is an integer of more than 308 digits, which no float can hold.
        return False


def _library() -> Any:
    try:
        import jwt
        import jwt.algorithms
    except ImportError:
        raise ConfigError(
            "fastrpc.auth.JWT needs PyJWT and cryptography", hint="pip install 'fastrpc[jwt]'"
        ) from None
    if not jwt.algorithms.has_crypto:
        raise ConfigError("fastrpc.auth.JWT needs cryptography", hint="pip install 'fastrpc[jwt]'")
    return jwt


def _checked_algorithms(algorithms: Any) -> tuple[str, ...]:
    if isinstance(algorithms, str) or not isinstance(algorithms, Sequence) or not algorithms:
        raise ConfigError(f"algorithms is {algorithms!r}, it must be a list such as ['RS256']")
    for name in algorithms:
        if not isinstance(name, str) or name not in _KIND_OF:
            known = ", ".join(_KIND_OF)
            raise ConfigError(f"algorithms has {name!r}, which is not accepted", hint=f"there are {known}")
    found = tuple(dict.fromkeys(algorithms))
    kinds = {_KIND_OF[name] for name in found}
    if "secret" in kinds and len(kinds) > 1:
        raise ConfigError(
            "algorithms has HS algorithms beside others: a public key could be taken for a secret",
            hint="make two JWT",
        )
    return found


def _checked_audience(audience: Any) -> list[str]:
    found = [
        _checked_text("audience", one) for one in ([audience] if isinstance(audience, str) else audience)
    ]
    if not found:
        raise ConfigError(
            "audience is empty: tokens for any other server would be accepted",
            hint="name the audience that the issuer writes into tokens for this server",
        )
    return found


def _checked_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, it must be text")
    if not value:
        raise ConfigError(f"{name} is empty, it must be a text of at least one character")
    return value
