"""The instructions of a Dockerfile."""

from pathlib import Path

__all__ = ["Dockerfile"]


class Dockerfile:
    """The last stage of a Dockerfile."""

    def __init__(self, path: Path) -> None:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        joined = "\n".join(lines).replace("\\\n", " ")
        found = [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]
        first = max(index for index, (name, _) in enumerate(found) if name == "FROM")
        #: The instructions of the file in their order: name and arguments.
        self.instructions: list[tuple[str, str]] = [
            (name, " ".join(rest.split())) for name, rest in found[first:]
        ]

    def all(self, name: str) -> list[str]:
        """Return the arguments of each instruction of a name."""
        return [rest for found, rest in self.instructions if found == name]

    def one(self, name: str) -> str:
        (found,) = self.all(name)
        return found

    @property
    def environment(self) -> dict[str, str]:
        pairs = [pair for rest in self.all("ENV") for pair in rest.split()]
        return dict(pair.split("=", 1) for pair in pairs)
