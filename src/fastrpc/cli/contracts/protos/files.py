"""Files of descriptors: their definitions, with the comments and options in the files."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

from fastrpc.errors import DecodeError

__all__ = ["FilePart", "ProtoFiles"]

#: The fields of descriptors that contain parts: the name of the list, its number, the kind of part.
_INNER: Final = {
    "file": (
        ("message_type", 4, "message"),
        ("enum_type", 5, "enum"),
        ("service", 6, "service"),
        ("extension", 7, ""),
    ),
    "message": (
        *(("field", 2, ""), ("nested_type", 3, "message"), ("enum_type", 4, "enum"), ("extension", 6, "")),
        ("oneof_decl", 8, ""),
    ),
    "enum": (("value", 2, ""),),
    "service": (("method", 2, ""),),
}


class FilePart(NamedTuple):
    """A part of a file in its written form."""

    proto: Any
    comment: str = ""


class ProtoFiles:
    """Files, each after its imports.

    Args:
        files: google.protobuf.FileDescriptorProto.
        main: the names of the files whose contract is written; these import the other files.

    Raises:
        DecodeError: the files do not fit together, or have an edition that the protobuf package does not support.
    """

    def __init__(self, files: Sequence[Any], main: Collection[str]) -> None:
        from google.protobuf import descriptor_pool

        self.main = frozenset(main)
        self.pool: Any = descriptor_pool.DescriptorPool()
        self.protos = {file.name: file for file in files}
        #: The parts by full name; the names of enum values begin with the name of the enum.
        self._parts: dict[str, FilePart] = {}
        for file in files:
            try:
                self.pool.AddSerializedFile(file.SerializeToString())
            except TypeError as error:
                raise DecodeError(f"{file.name} cannot be read: {error}") from None
            comments = {tuple(one.path): _comment(one) for one in file.source_code_info.location}
            for name, part in _parts("file", file, file.package, (), comments):
                self._parts[name] = part

    def descriptors(self) -> list[Any]:
        """Return the files, each after its imports."""
        return [self.pool.FindFileByName(name) for name in self.protos]

    def part(self, name: str) -> FilePart:
        """Return a part by its full name."""
        return self._parts[name]

    def comment(self, name: str) -> str:
        """Return the comment on a part; empty if there is no comment."""
        return self._parts[name].comment if name in self._parts else ""


def _parts(
    kind: str, owner: Any, place: str, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
) -> Iterator[tuple[str, FilePart]]:
    for attribute, number, inner in _INNER[kind]:
        for at, one in enumerate(getattr(owner, attribute)):
            name = f"{place}.{one.name}" if place else one.name
            where = (*path, number, at)
            yield name, FilePart(one, comments.get(where, ""))
            if inner:
                yield from _parts(inner, one, name, where, comments)


def _comment(location: Any) -> str:
    parts = (location.leading_comments, location.trailing_comments)
    return "\n\n".join(text for one in parts if (text := _plain(one)))


def _plain(text: str) -> str:
    """Return a comment without the space after its mark."""
    lines = [line.expandtabs(4).rstrip() for line in text.splitlines()]
    margin = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return "\n".join(line[margin:] for line in lines).strip("\n")
