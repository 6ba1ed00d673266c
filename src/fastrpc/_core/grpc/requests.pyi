from typing import final

from fastrpc._core.http2.stream_handler import StreamHandler

@final
class GrpcRequests(StreamHandler):
    """The requests of one connection."""
