"""Patterns of words that a separator joins.

They match methods in limits and policies, keys in a store's access rights, topics and groups of brokers, services, and
names at a relay.

`*` stands for any one word, `**` at the end for one or more. ::

    shop.pay       this method
    shop.*         the methods of the service `shop`
    shop.**        these methods, and the methods of all services below, such as shop.orders.list
    **             every method except the built-in ones, `fastrpc.*`, which must be named explicitly

    shop/limits    this key
    shop/*/limits  in a key any word may be `*`, in a method only the last one
    shop/**        every key below shop/
    **             every key

    orders.new     this topic or group
    orders.*       orders.new, not orders.new.paid; any word may be `*`
    orders.**      both

    edge-*         every name at a relay that begins with edge-
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

from fastrpc.errors import ConfigError

__all__ = [
    "NAME_CHARACTERS",
    "GroupPattern",
    "KeyPattern",
    "MethodPattern",
    "RelayPattern",
    "ServicePattern",
    "TopicPattern",
    "WordPattern",
    "check_name_length",
    "fault_of_word",
    "method_patterns",
]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_RELAY_NAMES: Final = re.compile(r"[a-z0-9-]{1,63}\*?|\*")
_METHOD_FORMS: Final = "write shop.pay, shop.*, shop.** or **"
_KEY_FORMS: Final = "write shop/limits, shop/*, shop/** or **"
_BUILT_IN: Final = "fastrpc."

#: Most characters of the name of a topic or a group, or of their patterns: a label of metrics, and a part of subjects
#: and keys of other brokers.
NAME_CHARACTERS: Final = 255

#: `*` is a pattern here, and `>` is a pattern in NATS, where subjects with such a name would match too much.
_OF_PATTERNS: Final = frozenset("*>")


class WordPattern:
    """A pattern of words. Subclasses check its form.

    Raises:
        TypeError: the pattern is not text.
    """

    __slots__ = ("has_rest", "text", "words")

    #: `_things`: the plural of the named things, for errors. `_separator`: the separator between two words.
    _things: ClassVar[str]
    _separator: ClassVar[str]

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a pattern of {self._things} is {text!r}, it must be text")
        self.text = text
        *first, last = text.split(self._separator)
        #: Whether the name may have further words.
        self.has_rest = last == "**"
        self.words = first if self.has_rest else [*first, last]

    def matches(self, name: str) -> bool:
        """Return whether a full name matches."""
        words = name.split(self._separator)
        if not self.has_rest:
            return len(words) == len(self.words) and self.fits(words)
        return len(words) > len(self.words) and self.fits(words)

    def fits(self, words: list[str]) -> bool:
        """Return whether words match one by one, up to the length of the shorter side."""
        return all(mine in ("*", word) for mine, word in zip(self.words, words, strict=False))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"


class MethodPattern(WordPattern):
    """A pattern of full method names.

    Raises:
        TypeError: the pattern is not text.
        ConfigError: the pattern has another form.
    """

    __slots__ = ()

    _things, _separator = "methods", "."

    def __init__(self, text: str) -> None:
        super().__init__(text)
        names = list(self.words)
        if not self.has_rest and names[-1] == "*":
            del names[-1]
        elif self.is_exact and len(names) == 2 and names[0] == "":
            # A bare function, whose service has no name.
            del names[0]
        elif self.is_exact and len(names) < 2:
            names.clear()
        if text != "**" and not (names and all(_NAME.fullmatch(name) for name in names)):
            raise ConfigError(f"{text!r} is not a pattern of methods", hint=_METHOD_FORMS)

    @property
    def is_exact(self) -> bool:
        """Whether the pattern is the name of one method."""
        return not self.has_rest and self.words[-1] != "*"

    def matches(self, method: str) -> bool:
        """Return whether a full method name matches."""
        if self.text == "**":
            return not method.startswith(_BUILT_IN)
        return super().matches(method)

    def covers(self, service: str) -> bool:
        """Return whether every method of a service matches."""
        return not self.is_exact and self.matches(f"{service}.x")

    def missing_in(self, methods: Iterable[str]) -> str | None:
        """Return the service that this pattern names if the pattern matches none of these methods, else None."""
        if self.text == "**" or any(self.matches(method) for method in methods):
            return None
        return ".".join(self.words if self.has_rest else self.words[:-1])


class KeyPattern(WordPattern):
    """A pattern of the keys of a store.

    Raises:
        TypeError: the pattern is not text.
        ConfigError: the pattern has another form.
    """

    __slots__ = ()

    _things, _separator = "keys", "/"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        wrong = any(word in ("", ".", "..") or ("*" in word and word != "*") for word in self.words)
        if wrong or not text.isprintable():
            raise ConfigError(f"{text!a} is not a pattern of keys", hint=_KEY_FORMS)

    def covers(self, prefix: str) -> bool:
        """Return whether every key with a prefix matches; the prefix is "" or ends in `/`."""
        words = prefix.split("/")[:-1]
        return self.has_rest and len(words) >= len(self.words) and self.fits(words)


class TopicPattern(WordPattern):
    """A topic's name, or a pattern of names.

    Raises:
        TypeError: the pattern is not text.
        ConfigError: the pattern has another form.
    """

    __slots__ = ("is_name",)

    _things, _separator = "topics", "."
    _thing: ClassVar[str] = "topic"
    _forms: ClassVar[str] = "write orders.new, orders.*, orders.** or **"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        faults = (fault_of_word(word) for word in self.words if word != "*")
        if (fault := next(filter(None, faults), None)) is not None:
            raise ConfigError(f"{text!a} is not a {self._thing}: {fault}", hint=self._forms)
        check_name_length(text, self._thing)
        #: Whether the pattern is a single name.
        self.is_name = not self.has_rest and "*" not in self.words

    def is_below(self, other: "TopicPattern") -> bool:
        """Return whether the other pattern matches every name that this pattern matches."""
        if other.has_rest:
            fits = len(self.words) + self.has_rest > len(other.words)
        else:
            fits = len(self.words) == len(other.words) and not self.has_rest
        return fits and other.fits(self.words)

    def overlaps(self, other: "TopicPattern") -> bool:
        """Return whether a name exists that both patterns match."""
        mine, its = len(self.words), len(other.words)
        if (not self.has_rest and mine < its + other.has_rest) or (
            not other.has_rest and its < mine + self.has_rest
        ):
            return False
        pairs = zip(self.words, other.words, strict=False)
        return all("*" in (one, another) or one == another for one, another in pairs)


class GroupPattern(TopicPattern):
    """The name of a group of subscribers, or a pattern of names."""

    __slots__ = ()

    _things, _thing = "groups", "group"
    _forms = "write billing.bill, billing.*, billing.** or **"


class ServicePattern(TopicPattern):
    """The name of a service, or a pattern of names."""

    __slots__ = ()

    _things, _thing = "services", "service"
    _forms = "write shop.orders, shop.*, shop.** or **"


class RelayPattern(WordPattern):
    """A name at a relay, such as `edge-7`, or the start of names: `edge-*`, `*`.

    Raises:
        TypeError: the pattern is not text.
        ConfigError: the pattern has another form.
    """

    __slots__ = ()

    _things, _separator = "names at a relay", "."

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if not _RELAY_NAMES.fullmatch(text):
            raise ConfigError(
                f"{text!a} is not a pattern of names at a relay", hint="write edge-7, edge-* or *"
            )

    def matches(self, name: str) -> bool:
        """Return whether a name matches."""
        if self.text.endswith("*"):
            return name.startswith(self.text[:-1])
        return name == self.text


def fault_of_word(word: str) -> str | None:
    """Return the fault of a word in the name of a topic or a group; None for a valid word."""
    if not word:
        return "it has an empty word"
    if not _OF_PATTERNS.isdisjoint(word):
        return f"{word!a} has a mark of patterns; `*` is a whole word, and `**` the last one"
    if not word.isprintable() or " " in word:
        return f"{word!a} has a blank, or a character that cannot be printed"
    return None


def check_name_length(text: str, thing: str) -> None:
    """Raise ConfigError if the name of a topic or a group is too long."""
    if len(text) > NAME_CHARACTERS:
        raise ConfigError(
            f"the {thing} {text[:32]!a}… has {len(text)} characters, the limit is {NAME_CHARACTERS}",
            hint="put the rest into the key or the headers of the message",
        )


def method_patterns(given: Any) -> tuple[MethodPattern, ...]:
    """Return the patterns given as one text or as several.

    Raises:
        ConfigError: the list is empty, or an item is not a pattern.
    """
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(
            f"methods is {given!r}, it must be a pattern, or a list of them", hint=_METHOD_FORMS
        )
    return tuple(MethodPattern(text) for text in texts)
