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
    """A form: after its fields the call begins, with the file as its stream."""

@final
class MountBody(BodyReading):
    """The body of a request to a mounted application, once the application has the request."""
