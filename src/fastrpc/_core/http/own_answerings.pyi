from typing import final

from fastrpc._core.http.answering import BareAnswering

class ValueAnswering(BareAnswering):
    """A result as JSON or msgpack."""

@final
class StreamAnswering(ValueAnswering):
    """A stream of values as lines, or as events."""

@final
class PartAnswering(ValueAnswering):
    """The outcome of a call that is a part of a document, passed to the handler of the document."""
