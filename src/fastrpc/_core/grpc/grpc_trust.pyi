from typing import final

@final
class GrpcTrust:
    """Tells whether the client of a connection is known."""
