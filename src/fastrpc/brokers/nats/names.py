"""The names of streams, consumers and subjects below one base.

::

    stream    fastrpc+orders-new                     a topic
    subject   fastrpc.topic.orders.new               its messages
    subject   fastrpc.again.orders-new.GROUP         dead letters that are replayed to one group
    subject   fastrpc.later.orders-new.NUMBER        messages that wait for their time
    consumer  billing-bill                           a group
    stream    fastrpc+dead+billing-bill              a group's dead letters; the claim to the group's name
    subject   fastrpc.dead.billing-bill.NUMBER.ID    a dead letter

A name becomes one word: a dot becomes `-`, and each other character than ASCII letters, digits and `_` becomes `=` with
hexadecimal digits.
"""

import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

__all__ = ["SubjectNames", "word_of"]

#: Most characters of a word; longer words end with a hash. Streams are folders, whose names have at most 255 bytes.
_WORD_CHARACTERS: Final = 100

_ESCAPED: Final = re.compile(r"[^A-Za-z0-9_]")


class SubjectNames:
    """The names of streams and subjects below a base. The base has letters, digits, `_` and `-`."""

    def __init__(self, base: str) -> None:
        self.base = base
        #: Wildcards that cover the subjects of all topics (`topics`), and of all dead letters (`letters`).
        self.topics = f"{base}.topic.>"
        self.letters = f"{base}.dead.>"
        self._topic_prefix = f"{base}.topic."

    def topic_stream(self, topic: str) -> str:
        return f"{self.base}+{word_of(topic)}"

    def dead_stream(self, group: str) -> str:
        return f"{self.base}+dead+{word_of(group)}"

    def subject(self, pattern: str) -> str:
        """Return the subject of a topic's name or pattern."""
        if pattern == "**":
            return self.topics
        return self._topic_prefix + (f"{pattern[:-2]}>" if pattern.endswith(".**") else pattern)

    def name_in(self, subject: str) -> str:
        """Return the topic's name in the subject of a message."""
        return subject.removeprefix(self._topic_prefix)

    def again(self, topic: str, group: str = "*") -> str:
        """Return the subject of dead letters that are replayed to a group; "*" means any group."""
        return f"{self.base}.again.{word_of(topic)}.{group if group == '*' else word_of(group)}"

    def later(self, topic: str, number: str = "*") -> str:
        """Return the subject of a delayed message; "*" means any number."""
        return f"{self.base}.later.{word_of(topic)}.{number}"

    def dead(self, group: str, number: str = "*", id: str | None = None) -> str:
        """Return the subject of a dead letter; an id of None means any id."""
        last = "*" if id is None else urlsafe_b64encode(id.encode()).decode().rstrip("=")
        return f"{self.base}.dead.{word_of(group)}.{number}.{last}"

    def filters(self, topic: str, pattern: str, group: str) -> list[str]:
        """Return the subjects that a group gets."""
        return [self.subject(pattern), self.again(topic, group)]

    def subjects(self, topic: str, *, has_later: bool) -> list[str]:
        """Return the subjects of a topic's stream."""
        found = [self.subject(topic), self.again(topic)]
        return [*found, self.later(topic)] if has_later else found


def word_of(name: str) -> str:
    """Convert the name of a topic or group to one word. Different names give different words."""
    word = _ESCAPED.sub(lambda one: "-" if one[0] == "." else f"={one[0].encode().hex()}=", name)
    if len(word) <= _WORD_CHARACTERS:
        return word
    # No other word contains "===".
    return f"{word[:32]}==={sha256(name.encode()).hexdigest()}"
