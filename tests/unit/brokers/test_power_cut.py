"""Power cuts: each content that the disk may have afterwards opens, and has every acknowledged message once."""

import copy
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from fastrpc import BrokerError
from fastrpc.brokers.sqlite import SqliteBrokerJournal
from tests.conftest import Scale
from tests.support.crash_states import (
    Record,
    build_recorder,
    cut_states,
    read_records,
    recorded,
    write_files,
)
from tests.support.recorded_broker import GROUP, TOPICS, label_of
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually

#: A message by topic and number.
Place = tuple[str, int]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@dataclass
class Found:
    """What a broker finds in its folder."""

    messages: dict[Place, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    damaged: list[Place] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)
    #: The group has settled all numbers up to its position, which is large if numbers are left out, and some after it.
    position: int = 0
    settled: set[int] = field(default_factory=set)
    dead: list[int] = field(default_factory=list)

    def unsettled(self, numbers: Iterable[int]) -> set[int]:
        """Return the numbers that the group has not settled."""
        return {number for number in numbers if number > self.position and number not in self.settled}


@dataclass
class Expected:
    """The acknowledged messages up to an instant."""

    messages: dict[Place, str] = field(default_factory=dict)
    #: All numbers that were ever given, and those that came twice.
    given: set[Place] = field(default_factory=set)
    repeated: set[Place] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)

    def take(self, record: Record) -> None:
        """Take an acknowledgement."""
        told = json.loads(record.data)
        if "acked" in told:
            self.settled.add(told["acked"])
        elif "dead" in told:
            self.dead.add(told["dead"])
        else:
            place = told["topic"], told["sequence"]
            if place in self.given:
                self.repeated.add(place)
            self.given.add(place)
            self.messages[place] = told["label"]

    def go_on(self, found: Found) -> "Expected":
        """Return the expected state of the next program, which begins with the files after a cut."""
        after = copy.deepcopy(self)
        after.messages = dict(found.messages)
        after.settled -= found.unsettled(after.settled)
        after.dead &= set(found.dead)
        return after

    def faults(self, found: Found, sync: str) -> Iterator[str]:
        """Return the differences of a folder from the expected state."""
        if self.repeated:
            yield f"the numbers {self.repeated} came twice"
        if found.damaged:
            yield f"{found.damaged} are damaged"
        if len(set(found.messages.values())) < len(found.messages) or len(set(found.ids)) < len(found.ids):
            yield "a message is there twice"
        missing = {place for place in self.messages.items() if place not in found.messages.items()}
        if sync == "normal":
            ends = {
                topic: max((number for of, number in found.messages if of == topic), default=0)
                for topic in TOPICS
            }
            missing = {one for one in missing if one[0][1] < ends[one[0][0]]}
        elif unsettled := found.unsettled(self.settled) - set(found.dead):
            yield f"{unsettled} were acknowledged"
        elif not self.dead <= set(found.dead):
            yield f"{self.dead - set(found.dead)} are not dead letters"
        if missing:
            yield f"{missing} are missing"
        if len(set(found.dead)) < len(found.dead):
            yield "a dead letter is there twice"
        if found.unsettled(found.dead):
            yield "a dead letter is delivered, too"


def _is_longer(path: Path, least: int) -> bool:
    return path.exists() and path.stat().st_size > least


def opened(files: Mapping[str, bytes]) -> Found:
    """Return the content that a broker finds in files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        folder = Path(place, "broker")
        write_files(folder, files)
        journal = SqliteBrokerJournal(folder)
        try:
            kept = journal.open()
            found = Found()
            for topic in kept.topics:
                name = topic.settings.name
                numbers = [one.sequence for one in topic.places]
                records, damaged = journal.read(name, numbers) if numbers else ((), ())
                found.messages |= {(name, one.sequence): label_of(one.body) for one in records}
                found.ids += [one.id for one in records]
                found.damaged += [(name, number) for number in damaged]
                found.last[name] = topic.last
            for group in kept.groups:
                assert group.name == GROUP
                found.position, found.settled = group.position, set(group.settled)
                found.dead = [death.record.sequence for _, death in group.dead]
            return found
        finally:
            journal.close()


def tried(
    library: Path,
    place: Path,
    sync: str,
    count: int,
    chance: random.Random,
    firsts: Sequence[int] = (0, 1000),
) -> list[str]:
    """Cut the power of programs, each of which continues with the files after the cut before; return the faults.

    Args:
        firsts: the first number of each.
    """
    files: Mapping[str, bytes] = {}
    expected = Expected()
    faults: list[str] = []
    for first in firsts:
        options = sync, str(first), "40"
        records = recorded(library, place / str(first), files, "tests.support.recorded_broker", *options)
        going_on = files, expected
        end = chance.randrange(count)
        for number, left in enumerate(cut_states(records, files, expected.take, count, chance)):
            try:
                found = opened(left)
            except BrokerError as error:
                faults.append(f"state {number}: {error}")
                continue
            faults += (f"state {number}: {fault}" for fault in expected.faults(found, sync))
            if number <= end:
                going_on = left, expected.go_on(found)
        files, expected = going_on
    return faults


def test_acknowledged_messages_survive_a_power_cut(library: Path, tmp_path: Path, scale: Scale) -> None:
    assert tried(library, tmp_path, "full", 75 if scale.factor <= 1 else scale(75), scale.random(1)) == []


def test_broker_that_may_lose_commits_keeps_a_prefix_and_gives_no_number_twice(
    library: Path, tmp_path: Path, scale: Scale
) -> None:
    assert tried(library, tmp_path, "normal", 25 if scale.factor <= 1 else scale(25), scale.random(2)) == []


@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_acknowledged_messages_survive_kill_9_while_commits_come(
    tmp_path: Path, scale: Scale, sync: str
) -> None:
    chance, expected = scale.random(4), Expected()
    folder, files = tmp_path / "broker", dict[str, bytes]()
    for run in range(3):
        log = tmp_path / f"{run}.log"
        command = [sys.executable, "-m", "tests.support.recorded_broker", str(folder), str(log), sync]
        with subprocess.Popen([*command, str(run * 100_000), "100000"], cwd=ROOT) as program:
            least = chance.randrange(20_000, 100_000)
            await eventually(partial(_is_longer, log, least))
            program.kill()
        for record in read_records(log):
            expected.take(record)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        # Nothing is lost: the system has all that was written.
        found = opened(files)
        assert list(expected.faults(found, "full")) == []
        expected = expected.go_on(found)


def test_commit_without_a_sync_is_found(library: Path, tmp_path: Path, scale: Scale) -> None:
    # Of 20 states one alone may show it.
    faults = tried(library, tmp_path, "unsynced", 80, scale.random(3), [0])
    # The log shows a bad frame before later commits; otherwise missing messages show it.
    assert any("missing" in fault or "acknowledged" in fault or "is damaged" in fault for fault in faults)
