"""A broker in plain words: every message is looked at in each step, and nothing is counted in advance."""

from dataclasses import dataclass, field

from fastrpc.brokers.base import TopicSettings
from fastrpc.brokers.base.names import TopicPattern

__all__ = ["Held", "Message", "ModelBroker", "ModelGroup"]


@dataclass(eq=False)
class Message:
    """A message of the topic."""

    sequence: int
    name: str
    key: str | None
    id: str
    kept_at: float
    due: float
    size: int


@dataclass(eq=False)
class Held:
    """A message that a group has to handle."""

    message: Message
    deliveries: int
    due: float
    is_replay: bool = False
    member: object | None = None


@dataclass(eq=False)
class ModelGroup:
    """One group."""

    name: str | None
    pattern: str
    is_ordered: bool
    begin: int
    held: dict[int, Held] = field(default_factory=dict)
    members: list[object] = field(default_factory=list)
    dead: list[tuple[Held, str]] = field(default_factory=list)
    expired: int = 0
    empty_since: float = 0.0

    def dead_bytes(self) -> int:
        return sum(held.message.size + len(reason) for held, reason in self.dead)

    def startable(self, now: float, most_bytes: int) -> list[Held]:
        """Return the messages that may start, one of a key."""
        if self.dead_bytes() >= most_bytes:
            return []
        found: list[Held] = []
        keys = {held.message.key for held in self.held.values() if held.member is not None}
        for _, held in sorted(self.held.items()):
            key = held.message.key
            is_free = not self.is_ordered or key is None or key not in keys
            if is_free and held.member is None and held.due <= now:
                found.append(held)
            keys.add(key)
        return found

    def oldest(self, kept: list[Message]) -> float | None:
        """Return the instant of the first message, unless the log dropped it under way."""
        instants = [
            held.message.kept_at
            for _, held in sorted(self.held.items())
            if held.is_replay or held.message in kept
        ]
        return instants[0] if instants else None


class ModelBroker:
    """One topic with its groups."""

    def __init__(self, settings: TopicSettings) -> None:
        self.settings = settings
        self.last = 0
        self.now = 0.0
        self.messages: list[Message] = []
        self.uncommitted: list[Message] = []
        self.ids: dict[str, tuple[int, float]] = {}
        #: The numbers of all messages by their ids, removed ones too.
        self.numbers: dict[str, int] = {}
        self.groups: list[ModelGroup] = [
            ModelGroup(name, settings.name, False, 0) for name in settings.groups
        ]

    @property
    def is_queue(self) -> bool:
        return self.settings.keep_seconds is None

    def find(self, id: str) -> int | None:
        number, kept_at = self.ids.get(id, (0, 0.0))
        return number if number and kept_at + self.settings.dedupe_seconds > self.now else None

    def size(self) -> int:
        return sum(message.size for message in (*self.messages, *self.uncommitted))

    def publish(self, message: Message, has_own_id: bool) -> None:
        self.last = message.sequence
        self.uncommitted.append(message)
        self.numbers[message.id] = message.sequence
        if has_own_id:
            self.ids[message.id] = message.sequence, self.now

    def commit(self) -> None:
        for message in self.uncommitted[:]:
            self.uncommitted.remove(message)
            self.messages.append(message)
            for group in self.groups:
                if TopicPattern(group.pattern).matches(message.name) and message.sequence > group.begin:
                    group.held[message.sequence] = Held(message, 0, message.due)
            self.trim()

    def undo(self) -> None:
        for message in self.uncommitted:
            self.ids = {id: at for id, at in self.ids.items() if at[0] != message.sequence}
            self.numbers.pop(message.id, None)
            self.last -= 1
        self.uncommitted.clear()

    def trim(self) -> None:
        """Drop messages that the topic no longer keeps."""
        if self.settings.keep_seconds is None:
            named = [group for group in self.groups if group.name is not None]
            for message in self.messages[:]:
                if not any(self.has(group, message) for group in named):
                    self.messages.remove(message)
                    self.lose(message)
            return
        while self.messages and (
            self.messages[0].kept_at + self.settings.keep_seconds <= self.now
            or sum(one.size for one in self.messages) > self.settings.max_bytes
        ):
            self.lose(self.messages.pop(0))

    def lose(self, message: Message) -> None:
        """Take a message that is kept no longer from the groups that wait for it."""
        for group in self.groups:
            held = group.held.get(message.sequence)
            if held is not None and not held.is_replay and held.member is None:
                del group.held[message.sequence]
                group.expired += 1

    def has(self, group: ModelGroup, message: Message) -> bool:
        held = group.held.get(message.sequence)
        return held is not None and not held.is_replay

    def advance(self, now: float) -> list[ModelGroup]:
        """Move the clock; return the groups that are removed as they have no member."""
        self.now = now
        self.trim()
        keep = self.settings.keep_seconds
        gone = [
            group
            for group in self.groups
            if keep is not None and not group.members and group.empty_since + keep <= now
        ]
        self.groups = [group for group in self.groups if group not in gone]
        return gone

    def begin(self, name: str | None, pattern: str, is_ordered: bool, after: int) -> ModelGroup:
        group = ModelGroup(name, pattern, is_ordered, after, empty_since=self.now)
        self.groups.append(group)
        self.go_on(group, after)
        return group

    def go_on(self, group: ModelGroup, after: int) -> None:
        group.begin = after
        group.held = {
            message.sequence: Held(message, 0, message.due)
            for message in self.messages
            if message.sequence > after and TopicPattern(group.pattern).matches(message.name)
        }
        self.trim()

    def take(self, group: ModelGroup, member: object, most: int) -> list[Held]:
        taken = group.startable(self.now, self.settings.max_bytes)[:most]
        for held in taken:
            self.start(held, member)
        return taken

    def start(self, held: Held, member: object) -> None:
        held.member = member
        held.deliveries += 1

    def is_current(self, group: ModelGroup, held: Held) -> bool:
        return group in self.groups and group.held.get(held.message.sequence) is held

    def settle(self, group: ModelGroup, held: Held) -> None:
        del group.held[held.message.sequence]
        self.trim()

    def again(self, group: ModelGroup, held: Held, deliveries: int, due: float) -> None:
        sequence = held.message.sequence
        if held.is_replay or held.message in self.messages:
            group.held[sequence] = Held(held.message, deliveries, due, held.is_replay)
        else:
            del group.held[sequence]
            group.expired += 1

    def leave(self, group: ModelGroup, member: object) -> None:
        group.members.remove(member)
        group.empty_since = self.now
        for held in [one for one in group.held.values() if one.member is member]:
            self.again(group, held, held.deliveries, self.now)
        if group.name is None:
            self.groups.remove(group)
            self.trim()

    def replay(self, group: ModelGroup, ids: list[str]) -> int:
        chosen = [one for one in group.dead if not ids or one[0].message.id in ids]
        for one in chosen:
            group.dead.remove(one)
            message = one[0].message
            if message.sequence not in group.held:
                group.held[message.sequence] = Held(message, 0, self.now, is_replay=True)
        return len(chosen)
