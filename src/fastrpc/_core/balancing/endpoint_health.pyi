from collections.abc import Iterable
from typing import final

from fastrpc import config

@final
class EndpointHealth:
    """What the results of one endpoint tell of it."""

    @property
    def attempts(self) -> int:
        """Attempts since the last comparison."""

    @property
    def faults(self) -> int:
        """Those of them that were faults."""

    @property
    def good_seconds(self) -> float:
        """Seconds that the others took, together."""

    @property
    def faults_in_row(self) -> int: ...
    @property
    def is_ejected(self) -> bool:
        """Whether it gets no calls, unless more than half of the endpoint set would get none."""

    @property
    def is_down(self) -> bool:
        """Whether its probes say that it is not to be called; then it gets as few calls as one that is ejected."""

    @property
    def failed_probes(self) -> int:
        """Probes in a row that failed, the last one among them."""

    @property
    def passed_probes(self) -> int:
        """Probes in a row that passed since it is down."""

    def probe_failed(self, fall: int) -> bool:
        """Count a failed probe; with `fall` in a row the endpoint is down. Return whether it is from now on."""

    def probe_passed(self, rise: int) -> bool:
        """Count a passed probe; with `rise` in a row a down endpoint is up. Return whether it is from now on."""

    def record(self, is_fault: bool, seconds: float) -> None:
        """Count an attempt, one of a method that usually takes a second."""

@final
class MethodTime:
    """What one method usually takes, wherever it is called."""

@final
class OutlierDetector:
    """Compares endpoints and ejects those that do worse than the others."""

    def __init__(self, settings: config.Outlier) -> None: ...
    def sweep(self, endpoints: Iterable[EndpointHealth], now: float) -> bool:
        """Compare, and let those in again whose time is over and whose last probe, if any, passed.

        Return whether any came or went.
        """
