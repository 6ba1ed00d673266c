"""Rights at the embedded registry (to register services, to read lists) and at a store (to read and write keys)."""

from typing import Final

from fastrpc.hosted.rights import Grant
from fastrpc.patterns import KeyPattern, MethodPattern

__all__ = ["READ", "READ_KEYS", "REGISTER", "WRITE_KEYS"]


def _grants_key(pattern: KeyPattern, key: str) -> bool:
    """Return whether a pattern covers a key, or all keys of a prefix, which is "" or ends in `/`."""
    return pattern.covers(key) if not key or key.endswith("/") else pattern.matches(key)


#: The rights to register and to read services at a registry.
REGISTER: Final[Grant[MethodPattern]] = Grant(
    "register",
    "service",
    "register",
    lambda policy, identity: policy.patterns(identity, "register"),
    MethodPattern.covers,
)
READ: Final[Grant[MethodPattern]] = Grant(
    "read",
    "service",
    "read",
    lambda policy, identity: policy.patterns(identity, "read"),
    MethodPattern.covers,
)

#: The rights to read and to write keys and prefixes at a store.
READ_KEYS: Final[Grant[KeyPattern]] = Grant(
    "read",
    "key",
    "read_keys",
    lambda policy, identity: policy.key_patterns(identity, "read_keys"),
    _grants_key,
)
WRITE_KEYS: Final[Grant[KeyPattern]] = Grant(
    "write",
    "key",
    "write_keys",
    lambda policy, identity: policy.key_patterns(identity, "write_keys"),
    _grants_key,
)
