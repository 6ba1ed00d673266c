from typing import final

@final
class SenderCheck:
    """Who sends a long frame: judged by its beginning, before its payload is received."""
