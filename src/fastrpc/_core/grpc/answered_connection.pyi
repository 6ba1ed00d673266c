from typing import final

from fastrpc._core.http2.stream_handler import StreamHandler

@final
class AnswerHead:
    """The head of an answer."""

@final
class AnswerEnd:
    """The end of an answer: its status, and the metadata of its trailers."""

@final
class GrpcAnswer:
    """The answer to a call, as far as received."""

class AnsweredConnection(StreamHandler):
    """The half of a client's connection that receives answers."""
