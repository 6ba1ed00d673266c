from collections.abc import Iterable
from typing import final

from fastrpc import config
from fastrpc.endpoint import Endpoint

def always_sound(endpoint: Endpoint) -> bool:
    """Return True: the health of endpoints for filters without health checks."""

@final
class EndpointHealth:
    """The results and probes of one endpoint."""

    @property
    def attempts(self) -> int:
        """Attempts since the last comparison."""

    @property
    def faults(self) -> int:
        """Faults among these attempts."""

    @property
    def good_seconds(self) -> float:
        """Total seconds of the other attempts."""

    @property
    def faults_in_row(self) -> int: ...
    @property
    def is_ejected(self) -> bool:
        """Whether it is ejected: it gets no calls, unless more than half of the endpoint set would get none."""

    @property
    def is_down(self) -> bool:
        """Whether it is down by its probes; then it gets as few calls as an ejected endpoint."""

    @property
    def failed_probes(self) -> int:
        """Failed probes in a row, up to the last one."""

    @property
    def passed_probes(self) -> int:
        """Passed probes in a row since it went down."""

    def probe_failed(self, fall: int) -> bool:
        """Count a failed probe; after `fall` in a row the endpoint is down. Return whether it just went down."""

    def probe_passed(self, rise: int) -> bool:
        """Count a passed probe; after `rise` in a row a down endpoint is up. Return whether it just came up."""

    def record(self, is_fault: bool, seconds: float) -> None:
        """Count an attempt of a method that usually takes a second."""

@final
class MethodTime:
    """The average time of one method over all endpoints."""

@final
class OutlierDetector:
    """Compares endpoints and ejects outliers."""

    def __init__(self, settings: config.Outlier) -> None: ...
    def sweep(self, endpoints: Iterable[EndpointHealth], now: float) -> bool:
        """Compare, and readmit endpoints whose ejection is over and whose last probe, if any, passed.

        Return whether any endpoint changed.
        """
