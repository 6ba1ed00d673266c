"""The journal of a broker of this process, and the changes that wait for their commit."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from fastrpc.brokers.local.records import Change, Record, SavedGroup, SavedTopic
from fastrpc.errors import BrokerError
from fastrpc.stores.local.commits import CommitJournal

__all__ = ["BrokerKeeping", "KeptBroker", "KeptChanges", "Tell"]


@dataclass(frozen=True, slots=True)
class KeptBroker:
    """All that a journal kept."""

    topics: Sequence[SavedTopic] = ()
    groups: Sequence[SavedGroup] = ()


#: Is told that changes are kept, or of an error.
Tell: TypeAlias = Callable[[BrokerError | None], None]


class KeptChanges(msgspec.Struct, eq=False):
    """The changes of one step, in their order."""

    changes: Sequence[Change]

    #: Bytes of its messages.
    size: int

    #: Are called once they are kept, or with the error of the broker.
    tells: Sequence[Tell] = ()

    #: Whether a full commit has kept all changes except messages.
    has_rest: bool = False


class BrokerKeeping(CommitJournal[KeptChanges, KeptBroker], Protocol):
    """A journal of a broker. A commit without room refuses only its messages: it keeps all other changes."""

    def read(self, topic: str, numbers: Sequence[int]) -> tuple[Sequence[Record], Sequence[int]]:
        """Return messages of a topic that are there, in order, and the numbers of damaged ones.

        The times of the messages count from the instant at which each was kept. It is called between two commits.
        """

    def read_ids(self, topic: str, first: int, last: int) -> Mapping[str, int]:
        """Return the numbers of a topic's present messages in a range, by id.

        Damaged messages are left out. Called between two commits.
        """

    def read_letters(self, group: str, numbers: Collection[int]) -> Mapping[int, bytes]:
        """Return the bodies of dead letters that are there and whole, by number. It is called between two commits."""

    def stop_waiting(self) -> None:
        """Wait for room no longer: the broker closes. Any thread may call it."""

    def file_bytes(self) -> int:
        """Return the bytes on the disk. Any thread may ask."""
