"""A broker inside this process, for one event loop: the core with its rules, waiting takes, a timer and a journal.

It may import `brokers.base`, `brokers.local` and the group commits of stores.
"""

from fastrpc.brokers.embedded.broker import EmbeddedBroker, utc_now
from fastrpc.brokers.embedded.keeping import KeptBroker, KeptChanges

__all__ = ["EmbeddedBroker", "KeptBroker", "KeptChanges", "utc_now"]
