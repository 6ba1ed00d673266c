"""Names of topics and groups, and patterns of topics.

A name is words that dots join. In a pattern `*` stands for any one word, and `**` at the end for one or more. ::

    orders.new     this name alone
    orders.*       orders.new, not orders.new.paid
    orders.**      both
"""

from typing import ClassVar, Final

from fastrpc.errors import ConfigError
from fastrpc.patterns import WordPattern

__all__ = ["NAME_CHARACTERS", "TopicPattern", "check_group", "check_name", "covers", "is_below"]

#: Most characters of a name or a pattern: a label of metrics, and a part of subjects and keys of other brokers.
NAME_CHARACTERS: Final = 255

#: `*` is a pattern here, `>` one of NATS, where a message published to such a name would match too much.
_OF_PATTERNS: Final = frozenset("*>")

_FORMS: Final = "write orders.new, orders.*, orders.** or **"


class TopicPattern(WordPattern):
    """A topic's name, or a pattern of names.

    Raises:
        TypeError: the pattern is not text.
        ConfigError: the pattern has another form.
    """

    __slots__ = ("is_name",)

    _things: ClassVar[str] = "topics"
    _separator: ClassVar[str] = "."

    def __init__(self, text: str) -> None:
        super().__init__(text)
        wrong = next((word for word in self.words if word != "*" and not _is_word(word)), None)
        if wrong is not None:
            raise ConfigError(f"{text!a} is no topic: {_fault_of(wrong)}", hint=_FORMS)
        _check_length(text, "topic")
        #: Whether it is the name of one topic.
        self.is_name = not self.has_rest and "*" not in self.words

    def is_below(self, other: "TopicPattern") -> bool:
        """Return whether the other pattern covers every name of this one."""
        if other.has_rest:
            fits = len(self.words) + self.has_rest > len(other.words)
        else:
            fits = len(self.words) == len(other.words) and not self.has_rest
        return fits and other.fits(self.words)

    def overlaps(self, other: "TopicPattern") -> bool:
        """Return whether there is a name that both cover."""
        mine, its = len(self.words), len(other.words)
        if (not self.has_rest and mine < its + other.has_rest) or (
            not other.has_rest and its < mine + self.has_rest
        ):
            return False
        pairs = zip(self.words, other.words, strict=False)
        return all("*" in (one, another) or one == another for one, another in pairs)


def check_name(name: str) -> None:
    """Check the name of one topic, to which messages are published.

    Raises:
        TypeError: the name is not text.
        ConfigError: the name is malformed, or a pattern.
    """
    if not TopicPattern(name).is_name:
        raise ConfigError(
            f"{name!r} is a pattern, messages are published to one name", hint="write orders.new"
        )


def check_group(name: str) -> None:
    """Check the name of a group.

    Raises:
        TypeError: the name is not text.
        ConfigError: the name is malformed.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a group is {name!r}, it must be text")
    wrong = next((word for word in name.split(".") if not _is_word(word)), None)
    if wrong is not None:
        raise ConfigError(f"{name!a} is no name of a group: {_fault_of(wrong)}", hint="write billing.bill")
    _check_length(name, "group")


def covers(pattern: str, name: str) -> bool:
    """Return whether a name fits a pattern; a name covers itself."""
    return TopicPattern(pattern).matches(name)


def is_below(pattern: str, topic: str) -> bool:
    """Return whether a topic covers every name of a pattern."""
    return TopicPattern(pattern).is_below(TopicPattern(topic))


def _is_word(word: str) -> bool:
    return bool(word) and word.isprintable() and " " not in word and _OF_PATTERNS.isdisjoint(word)


def _fault_of(word: str) -> str:
    if not word:
        return "it has an empty word"
    if not _OF_PATTERNS.isdisjoint(word):
        return f"{word!a} has a mark of patterns; `*` is a whole word, and `**` the last one"
    return f"{word!a} has a blank, or a character that cannot be printed"


def _check_length(text: str, thing: str) -> None:
    if len(text) > NAME_CHARACTERS:
        raise ConfigError(
            f"the {thing} {text[:32]!a}… has {len(text)} characters, the limit is {NAME_CHARACTERS}",
            hint="put the rest into the key or the headers of the message",
        )
