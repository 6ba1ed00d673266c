from typing import final

@final
class Http2Control:
    """The frames of the connection itself, the budgets against floods, and the drain."""
