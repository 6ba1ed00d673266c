from typing import final

from fastrpc._core.http.request_state import BodyReading

@final
class LinesBody(BodyReading):
    """Lines of JSON: the first line holds the arguments, each further line a message."""

@final
class MessagesBody(BodyReading):
    """Messages of a call by gRPC-Web or Connect."""

@final
class FormBody(BodyReading):
    """A form. Its call begins when the fields are complete; the file is the stream of the call."""

@final
class MountBody(BodyReading):
    """The body of a request to a mounted application."""
