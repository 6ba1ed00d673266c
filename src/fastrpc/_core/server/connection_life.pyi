from typing import final

@final
class ConnectionLife:
    """The rules by which a served connection lives and ends: opening, age, drain, rest, credentials, output, stalls."""
