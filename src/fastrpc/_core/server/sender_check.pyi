from typing import final

@final
class SenderCheck:
    """Who sends a long request: judged by its beginning, before the rest of it is received."""
