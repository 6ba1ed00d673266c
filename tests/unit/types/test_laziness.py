"""No library is imported for its types, and methods without such types have the decoders of msgspec alone."""

import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from fastrpc.codecs.base import codec_named
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.schema.conversion import hooks_for
from fastrpc.rpc.service import method_definition, service

USES_ALL_BUT_THEM = """
import sys
import fastrpc, fastrpc.types
from fastrpc.testing import serving

@fastrpc.service("s")
class S:
    @fastrpc.method
    async def f(self, a: dict[str, int], b=None) -> list[int]:
        return [*a.values()]

with serving(S) as address, fastrpc.SyncClient(address) as client:
    for codec in ("msgpack", "json"):
        assert client.with_options(codec=codec).call(S.f, {"a": 1}, 2) == [1]
print(*sorted({"numpy", "pydantic", "fastrpc.types.arrays", "fastrpc.types.models"} & sys.modules.keys()))
"""


DESCRIBED = Annotated[Path, msgspec.Meta(description="of a file")]


@dataclass
class Point:
    x: int


def test_a_program_without_such_types_imports_none_of_the_libraries() -> None:
    done = subprocess.run(
        [sys.executable, "-c", USES_ALL_BUT_THEM], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("kind", [int, list[Point], dict[str, Any], object, Point | None, Any])
@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_types_of_msgspec_need_no_hooks(kind: Any, codec: str) -> None:
    assert hooks_for(codec, kind) is None


@pytest.mark.parametrize("kind", [Path, list[Path], deque[int], Path | None, DESCRIBED])
def test_types_of_libraries_need_hooks(kind: Any) -> None:
    hooks = hooks_for("msgpack", kind)
    assert hooks is not None
    assert hooks.ext_hook is None


def test_a_method_without_such_types_has_the_encoder_of_all_others() -> None:
    @service("plain")
    class Plain:
        @method
        async def get(self, a: int, b: list[Point]) -> str: ...  # type: ignore[empty-body]

    for codec in ("msgpack", "json"):
        marshal = marshal_for(method_definition(Plain.get), codec, depth=100, items=1000)
        assert marshal.coders.encode_arguments == codec_named(codec).encoder()
        for decode in marshal.coders.exact or ():
            owner = getattr(decode, "__self__", None)
            assert decode is None or isinstance(owner, msgspec.msgpack.Decoder | msgspec.json.Decoder)
