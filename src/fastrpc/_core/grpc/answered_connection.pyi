from fastrpc._core.http2.connection import Http2Connection

class AnsweredConnection(Http2Connection):
    """The half of a client's connection that takes answers."""
