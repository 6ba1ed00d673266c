"""The reasons for which a relay refuses a connection: each is counted, and logged once a minute."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

from fastrpc.gauges import count
from fastrpc.relay.told import ToldReasons

__all__ = ["RefusalReason", "Refusals", "RelayRefusedError"]

logger = logging.getLogger("fastrpc.relay")


class RefusalReason(Enum):
    """A reason: its name in metrics, and its text for the log."""

    NOT_TLS = "not_tls", "its first bytes are neither TLS nor a token of a server"
    MALFORMED = "malformed", "its ClientHello is malformed"
    OVERSIZED = "oversized", "its ClientHello is longer than 16 KiB"
    NO_NAME = "no_name", "its ClientHello has no host name"
    TWO_NAMES = "two_names", "its ClientHello has several host names"
    LATE = "late", "its opening took too long"
    CROWDED = "crowded", "too many connections are in their opening"
    WASTEFUL = "wasteful", "its address opened too many connections in this second that came to nothing"
    AWAY = "away", "no server has the name that it asks for"
    SLOW = "slow", "the server of the name opened no connection in time"
    NAME_FULL = "name_full", "the server of the name has too many connections"
    CALLER_FULL = "caller_full", "its address has too many connections"
    FULL = "full", "the relay has too many connections"
    TOKEN = "token", "it shows a token that is unknown, used or old"
    EARLY = "early", "a server sent bytes before a caller came"

    def __init__(self, label: str, text: str) -> None:
        self.label = label
        self.text = text


class RelayRefusedError(Exception):
    """A relay refuses a connection; `reason` says why."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason.text)
        self.reason = reason


class Refusals:
    """Counts and logs the connections that one relay refuses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        #: The number of refusals so far, by reason.
        self.counts: Counter[RefusalReason] = Counter()
        self._told = ToldReasons(clock)
        for reason in RefusalReason:
            count("relay_refused", reason.label, times=0)

    def note(self, reason: RefusalReason, peer_name: Any) -> None:
        """Count a refusal, and log it unless its reason was logged in the last minute."""
        self.counts[reason] += 1
        count("relay_refused", reason.label)
        left_out = self._told.note(reason)
        if left_out is None:
            return
        place = peer_name[0] if isinstance(peer_name, tuple) else "a caller"
        more = f" ({left_out} more were not logged)" if left_out else ""
        logger.warning(
            "refused %s: %s%s",
            place,
            reason.text,
            more,
            extra={"event": "relay_refused", "reason": reason.label},
        )
