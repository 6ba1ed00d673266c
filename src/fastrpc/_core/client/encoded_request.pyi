from typing import final

@final
class EncodedRequest:
    """The encoded arguments of a call; compressed, once their compression has ended."""
