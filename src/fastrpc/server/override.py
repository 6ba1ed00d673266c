"""Changes that an operator makes to all records of a server, in place of the configured values."""

from dataclasses import asdict, dataclass
from typing import Any

from fastrpc.endpoint import GREATEST_WEIGHT, Endpoint, copied
from fastrpc.errors import ConfigError

__all__ = ["CONFIGURED", "Override"]

#: The label, and the value with which clients of rpcx skip a server.
_STATE, _INACTIVE = "state", "inactive"


@dataclass(frozen=True, slots=True)
class Override:
    """The changes to apply to every record of a server.

    Raises:
        ConfigError: the weight is out of range.
    """

    #: True if the records have weight 0 and the label `state=inactive`.
    is_out: bool = False

    #: The weight of the records unless the server is out; None means the configured weight.
    weight: int | None = None

    def __post_init__(self) -> None:
        weight = self.weight
        if weight is None:
            return
        if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= GREATEST_WEIGHT:
            raise ConfigError(f"weight is {weight!r}, it must be a whole number from 0 to {GREATEST_WEIGHT}")

    def values(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)

    def applied(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint to register for a configured endpoint."""
        if self.is_out:
            return copied(endpoint, weight=0, labels={**endpoint.labels, _STATE: _INACTIVE})
        return endpoint if self.weight is None else copied(endpoint, weight=self.weight)


#: No changes: every record has its configured values.
CONFIGURED = Override()
