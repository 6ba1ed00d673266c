"""The record in the tree: the last accepted counts of the hot paths."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LIMIT", "Record", "faults"]

#: The share by which a count may differ from its record. Two runs of the same build differ by 0.2 %.
LIMIT = 0.05

#: Paths that may cost only this share more than another path of the same run: admin pages keep the last failed calls.
BESIDE = {"server: raw echo, admin pages": ("server: raw echo", 0.01)}

Counts = Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """Instructions per call by hot path, and the environment they were counted in."""

    environment: Mapping[str, str]
    counts: Counts

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read the file of `write`."""
        content = json.loads(path.read_text())
        return cls(content["environment"], content["instructions_per_call"])

    def write(self, path: Path) -> None:
        """Write the record as JSON, one path a line, so that a change shows in the diff."""
        content = {"environment": dict(self.environment), "instructions_per_call": dict(self.counts)}
        path.write_text(json.dumps(content, indent=2) + "\n")


def faults(before: Counts, now: Counts) -> list[str]:
    """Return, path by path, every count beyond `LIMIT` of the record, or too large compared with another path."""
    found = []
    for name in {**before, **now}:
        if name not in now:
            found.append(f"{name} is recorded and was not counted")
        elif name not in before:
            found.append(f"{name} is not recorded")
        elif abs(change := now[name] / before[name] - 1) > LIMIT:
            verb = "grew" if change > 0 else "fell"
            found.append(
                f"{name} {verb} by {abs(change):.1%}: {before[name]:,.1f} → {now[name]:,.1f} instructions a call"
            )
    for name, (without, share) in BESIDE.items():
        if name in now and without in now and now[name] > (1 + share) * now[without]:
            more = now[name] / now[without] - 1
            found.append(f"{name} takes {more:.1%} more than {without}, the most are {share:.0%}")
    return found
