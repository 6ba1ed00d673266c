"""Rules that say which callers may call which methods."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Literal, Self, TypeAlias, final

from fastrpc.auth.name_patterns import ANONYMOUS, NamePattern
from fastrpc.errors import ConfigError
from fastrpc.patterns import GroupPattern, KeyPattern, MethodPattern, RelayPattern, TopicPattern, WordPattern
from fastrpc.rpc.identity import Identity
from fastrpc.value_class import named_value_class, value_class
from fastrpc.watched_file import WatchedFile

__all__ = ["Decision", "Findings", "KeyRight", "Policy", "Right", "Route", "Rule", "Rules", "TopicRight"]

#: The rights that a rule may grant at an embedded registry.
Right: TypeAlias = Literal["register", "read"]

#: The rights that a rule may grant at a store of keys; writing includes reading.
KeyRight: TypeAlias = Literal["read_keys", "write_keys"]

#: The rights that a rule may grant at a broker.
TopicRight: TypeAlias = Literal["publish", "subscribe", "groups", "manage"]

_HIGH: Final = 2

#: The keys of a rule whose values are patterns, each with the kind of its patterns.
_KINDS: Final[Mapping[str, type[WordPattern]]] = {
    **dict.fromkeys(("allow", "deny", "register", "read"), MethodPattern),
    **dict.fromkeys(("read_keys", "write_keys"), KeyPattern),
    **dict.fromkeys(("publish", "subscribe", "manage"), TopicPattern),
    "groups": GroupPattern,
    "relay": RelayPattern,
}
_KEYS: Final = ("who", "priority", *_KINDS)

#: A pattern of each kind, for hints.
_EXAMPLES: Final[Mapping[type[WordPattern], str]] = {
    MethodPattern: "shop.*",
    KeyPattern: "shop/**",
    TopicPattern: "orders.**",
    GroupPattern: "billing.*",
    RelayPattern: "edge-*",
}
_HOW: Final = 'write [[rule]] with who = ["…"], allow = ["service.*"]'

#: Most rules of a policy: each is compared with each caller's first call of a method.
MOST_RULES: Final = 10_000

logger = logging.getLogger("fastrpc.audit")


@named_value_class
class Route:
    """A method, as `authorize` sees it."""

    #: `service`: the name of the service. `method`: the name of the method in it.
    service: str
    method: str
    #: "unary", "client_stream", "server_stream" or "both_ways".
    kind: str = "unary"
    #: The roles of `@method(roles=…)`, and whether the method is `public`.
    roles: frozenset[str] = frozenset()
    public: bool = False

    @property
    def full_name(self) -> str:
        """The name that callers send: `service.method`."""
        return f"{self.service}.{self.method}"

    @classmethod
    def named(cls, full_name: str) -> "Route":
        """Return a route of this name, without further properties."""
        service, _, method = full_name.rpartition(".")
        return cls(service=service, method=method)


@value_class
class Decision:
    """The decision of a policy about one caller and one method."""

    is_allowed: bool
    #: `rule`: the number of the deciding rule, from 1 on; `pattern`: its pattern. Both are None if no rule allows the
    #: call.
    rule: int | None = None
    pattern: str | None = None
    #: Whether an allowing rule lets the caller use priority 2.
    is_high: bool = False


@value_class
class Rule:
    """One rule: which callers may call which methods."""

    who: tuple[NamePattern, ...]
    allow: tuple[MethodPattern, ...] = ()
    deny: tuple[MethodPattern, ...] = ()
    #: Services that the callers may register at an embedded registry (`register`), and that they may read there
    #: (`read`).
    register: tuple[MethodPattern, ...] = ()
    read: tuple[MethodPattern, ...] = ()
    #: Keys of a store that the callers may read (`read_keys`), and keys that they may write and read (`write_keys`).
    read_keys: tuple[KeyPattern, ...] = ()
    write_keys: tuple[KeyPattern, ...] = ()
    #: Topics of a broker to which the callers may publish (`publish`), and to which they may subscribe (`subscribe`).
    publish: tuple[TopicPattern, ...] = ()
    subscribe: tuple[TopicPattern, ...] = ()
    #: Groups of a broker that the callers may join and manage.
    groups: tuple[GroupPattern, ...] = ()
    #: Topics of a broker that the callers may declare, and whose groups they may manage.
    manage: tuple[TopicPattern, ...] = ()
    #: Names that the callers may claim at a relay.
    relay: tuple[RelayPattern, ...] = ()
    priority: int = 0

    @property
    def grants_rights(self) -> bool:
        """Whether the rule grants a right at an embedded registry, a store, a broker or a relay."""
        return any(getattr(self, key) for key in _KINDS if key not in ("allow", "deny"))

    def stands_for(self, identity: Identity | None) -> bool:
        """Return whether the rule concerns a caller."""
        return any(pattern.matches(identity) for pattern in self.who)


@value_class
class Findings:
    """The mistakes in a policy for the services of one server."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Rules(ABC):
    """Authorisation that depends only on the names of callers and methods: decisions are kept until a file changes."""

    @abstractmethod
    def decide(self, identity: Identity | None, method: str) -> Decision:
        """Decide whether a caller may call the method of this full name; None is a caller without an identity."""

    def __call__(self, identity: Identity | None, route: Route) -> bool:
        """Return whether a caller may call a method; None is a caller without an identity."""
        return self.decide(identity, route.full_name).is_allowed


@final
class Policy(Rules):
    """Rules that say which callers may call which methods. The default is to deny; a deny overrides every allow.

    ::

        [[rule]]
        who = ["alice", "role:admin", "spiffe://corp/*"]
        allow = ["shop.orders.*", "bank.balance"]
        deny = ["bank.close_all"]
        priority = 2

    The key `who` has names and roles. `*` alone matches every identified caller; it may also stand last, after `/`, `:`
    or `.`. `anonymous` matches callers without an identity. `allow` and `deny` have methods: `shop.pay`, `shop.*` (the
    methods of the service `shop`), `shop.**` (the methods of services below it, too), `**` (all but `fastrpc.*`).

    Args:
        rules: tables with the keys of the file.

    A Policy cannot be subclassed. To check more, write a function `(Identity | None, Route) -> bool` that calls a
    policy.

    Raises:
        ConfigError: a rule cannot be used.
    """

    def __init_subclass__(cls) -> None:
        # Servers call only `decide`: methods that a subclass overrides would have no effect.
        raise TypeError(
            f"{cls.__name__} cannot be a subclass of Policy: write a function (identity, route) -> bool that asks one"
        )

    def __init__(self, rules: Iterable[Mapping[str, Any]]) -> None:
        self._rules = _rules(list(rules))
        self._file: WatchedFile[tuple[Rule, ...]] | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Return the policy of a TOML file, which is read again when it changes; if it is broken, the old rules stay.

        Raises:
            ConfigError: the file cannot be used.
        """
        made = cls.__new__(cls)
        made._follow(WatchedFile(path, "the policy", _read, logger=logger))
        return made

    def _follow(self, file: WatchedFile[tuple[Rule, ...]]) -> None:
        self._file, self._rules = file, file.value

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in their order."""
        return self._rules

    @property
    def version(self) -> int:
        """A number that grows each time the file is read again: earlier decisions may have changed."""
        return 0 if self._file is None else self._file.version

    def look(self) -> None:
        """Check whether the file changed, at most once a second."""
        if self._file is not None and self._file.look():
            self._rules = self._file.value

    def reload(self) -> None:
        """Read the file again now."""
        if self._file is not None and self._file.reload():
            self._rules = self._file.value

    def decide(self, identity: Identity | None, method: str) -> Decision:
        """Decide whether a caller may call the method of this full name."""
        allowed: Decision | None = None
        is_high = False
        for number, rule in enumerate(self._rules, 1):
            if not rule.stands_for(identity):
                continue
            for pattern in rule.deny:
                if pattern.matches(method):
                    return Decision(False, number, pattern.text)
            for pattern in rule.allow:
                if pattern.matches(method):
                    is_high = is_high or rule.priority == _HIGH
                    allowed = allowed or Decision(True, number, pattern.text)
                    break
        if allowed is None:
            return Decision(False)
        return Decision(True, allowed.rule, allowed.pattern, is_high)

    def patterns(self, identity: Identity | None, right: Right) -> tuple[MethodPattern, ...]:
        """Return the patterns of the services to which a caller has a right at an embedded registry."""
        return tuple(
            pattern
            for rule in self._rules
            if rule.stands_for(identity)
            for pattern in (rule.register if right == "register" else rule.read)
        )

    def key_patterns(self, identity: Identity | None, right: KeyRight) -> tuple[KeyPattern, ...]:
        """Return the patterns of the keys to which a caller has a right at a store."""
        return tuple(
            pattern
            for rule in self._rules
            if rule.stands_for(identity)
            for pattern in (rule.write_keys if right == "write_keys" else rule.read_keys + rule.write_keys)
        )

    def topic_patterns(self, identity: Identity | None, right: TopicRight) -> tuple[TopicPattern, ...]:
        """Return the patterns of the topics or groups to which a caller has a right at a broker."""
        return tuple(
            pattern for rule in self._rules if rule.stands_for(identity) for pattern in getattr(rule, right)
        )

    def relay_patterns(self, identity: Identity | None) -> tuple[RelayPattern, ...]:
        """Return the patterns of the names that a caller may claim at a relay."""
        return tuple(pattern for rule in self._rules if rule.stands_for(identity) for pattern in rule.relay)

    def may_register(self, identity: Identity | None, service: str) -> bool:
        """Return whether a caller may register a service at an embedded registry."""
        return any(pattern.covers(service) for pattern in self.patterns(identity, "register"))

    def may_read(self, identity: Identity | None, service: str) -> bool:
        """Return whether a caller may read the records of a service at an embedded registry."""
        return any(pattern.covers(service) for pattern in self.patterns(identity, "read"))

    def check(self, methods: Iterable[str], *, public: Collection[str] | None = None) -> Findings:
        """Compare the patterns of `allow` and `deny` with the methods that a server has.

        A pattern is an error if it names an unknown method of a served service, or writes a served service's name in
        another case: such a `deny` would deny nothing. A pattern is a warning if it names any other service that is not
        served, or allows `anonymous` a method that is not public, which refuses callers without identity.

        Args:
            public: the methods that are `public`; None: unknown.
        """
        known = list(methods)
        services = {method.rpartition(".")[0] for method in known}
        folded = {service.casefold(): service for service in services}
        closed = [] if public is None else [method for method in known if method not in public]
        found = Findings()
        for number, rule in enumerate(self._rules, 1):
            for pattern in (*rule.allow, *rule.deny):
                service = pattern.missing_in(known)
                if service is None:
                    continue
                if service in services:
                    found.errors.append(f"rule {number}: {pattern.text!r} is not a method of {service!r}")
                elif service.casefold() in folded:
                    meant = folded[service.casefold()]
                    found.errors.append(
                        f"rule {number}: {pattern.text!r} names no service here, there is {meant!r}"
                    )
                else:
                    found.warnings.append(f"rule {number}: {pattern.text!r} names no service here")
            if rule.stands_for(None):
                found.warnings.extend(self._refused_anyway(number, rule, closed))
        return found

    def _refused_anyway(self, number: int, rule: Rule, closed: Iterable[str]) -> Iterator[str]:
        """Yield a warning for each pattern that allows `anonymous` a method that is not public."""
        open_to_all = [method for method in closed if self.decide(None, method).is_allowed]
        for pattern in rule.allow:
            refused = [method for method in open_to_all if pattern.matches(method)]
            if refused:
                more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
                verb = "are" if more else "is"
                yield (
                    f"rule {number}: {pattern.text!r} allows {ANONYMOUS} {refused[0]}{more}, which {verb} not public: "
                    "callers without identity are refused"
                )

    def __repr__(self) -> str:
        source = "" if self._file is None else f" of {self._file.path!r}"
        return f"<Policy{source}: {len(self._rules)} rules>"


def _read(text: str) -> tuple[Rule, ...]:
    import tomllib  # A policy that is written in Python needs none.

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"it is not TOML: {error}") from None
    rules = content.pop("rule", None)
    if content:
        raise ConfigError(f"it has the unknown key {min(content)!r}", hint=_HOW)
    if not isinstance(rules, list):
        raise ConfigError("it has no list of rules", hint=_HOW)
    return _rules(rules)


def _rules(entries: Sequence[Any]) -> tuple[Rule, ...]:
    if not entries:
        raise ConfigError("a policy has no rule: every call would be denied", hint=_HOW)
    if len(entries) > MOST_RULES:
        raise ConfigError(f"a policy has {len(entries):,} rules, the limit is {MOST_RULES:,}")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(_rule(entry))
        except (ConfigError, TypeError) as error:
            hint = getattr(error, "hint", None)
            raise ConfigError(f"rule {number}: {getattr(error, 'message', error)}", hint=hint) from None
    return tuple(found)


def _rule(entry: Any) -> Rule:
    if not isinstance(entry, Mapping):
        raise ConfigError("it is not a table", hint=_HOW)
    if unknown := [name for name in entry if name not in _KEYS]:
        raise ConfigError(f"it has the unknown key {unknown[0]!r}", hint=f"there are {', '.join(_KEYS)}")
    who = _texts("who", entry.get("who"))
    if not any(name in entry for name in _KINDS):
        raise ConfigError("it allows and denies nothing", hint=_HOW)
    patterns: dict[str, Any] = {
        name: tuple(kind(text) for text in _texts(name, entry[name]))
        for name, kind in _KINDS.items()
        if name in entry
    }
    for name in ("register", "read"):
        for pattern in patterns.get(name, ()):
            if not pattern.text.endswith("*"):
                raise ConfigError(f"{name} has {pattern.text!r}", hint="write a service as shop.*")
    priority = entry.get("priority", 0)
    if isinstance(priority, bool) or priority not in (0, _HIGH):
        raise ConfigError(f"priority is {priority!r}, it must be {_HIGH}, or left out")
    if priority and "allow" not in entry:
        raise ConfigError("priority is given without allow: it would have no effect", hint="add allow")
    return Rule(tuple(NamePattern(text) for text in who), priority=priority, **patterns)


def _texts(name: str, given: Any) -> list[str]:
    if isinstance(given, str) or not isinstance(given, list | tuple) or not given:
        form = ANONYMOUS if name == "who" else _EXAMPLES[_KINDS[name]]
        example = f'["{form}"]'
        raise ConfigError(
            f"{name} is {given!r}, it must be a list of texts", hint=f"write {name} = {example}"
        )
    return list(given)
