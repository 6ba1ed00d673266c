"""A package with its codec and its compressor, as `pip` installs it: files on the path, no stand-in."""

from pathlib import Path
from typing import Any

__all__ = ["forget_tables", "write_package"]

MODULE = '''
import json
import zlib


class Reversed:
    """JSON, from its end to its beginning."""

    name = "{codec}"
    wire_id = {codec_number}

    def encode(self, value):
        return self.encoder()(value)

    def decode(self, payload, type=None):
        return self.decoder(type)(payload)

    def encoder(self):
        return lambda value: {made}(json.dumps(value, default=vars).encode()[::-1])

    def decoder(self, type=None):
        return lambda payload: json.loads(bytes(payload)[::-1])


class Deflating:
    name = "{compressor}"
    wire_id = {compressor_number}
    used = 0

    def compress(self, payload):
        Deflating.used += 1
        return {made}(zlib.compress(payload)[::-1])

    def decompress(self, payload, max_size):
        Deflating.used += 1
        return zlib.decompress(bytes(payload)[::-1])
'''


def write_package(
    folder: Path,
    name: str,
    *,
    codec: str = "reversed",
    codec_number: int = 64,
    compressor: str = "deflating",
    compressor_number: int = 64,
    made: str = "bytes",
) -> None:
    """Write a module of that name into a folder, and the files by which Python finds it as installed there.

    Args:
        made: the type of the output of its codec and compressor.
    """
    text = MODULE.format(
        codec=codec,
        codec_number=codec_number,
        compressor=compressor,
        compressor_number=compressor_number,
        made=made,
    )
    (folder / f"{name}.py").write_text(text)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[fastrpc.codecs]\n{codec} = {name}:Reversed\n\n[fastrpc.compressors]\n{compressor} = {name}:Deflating\n"
    )


def forget_tables(*services: type[Any]) -> None:
    """Have this process look again which codecs and compressors are installed.

    Args:
        services: those that outlive the test. Their methods keep prepared coders of a codec, by its name: they
            would use the coders of this codec, even with changes by a test, for the next codec of that name.
    """
    from fastrpc.codecs import base as codecs
    from fastrpc.compressors import base as compressors
    from fastrpc.rpc.marshals import untyped_marshal
    from fastrpc.rpc.service import service_definition

    for cached in (
        codecs._installed,
        codecs.codec_named,
        codecs.codec_numbers,
        compressors._installed,
        compressors.compressor_named,
        compressors.compressor_numbers,
        untyped_marshal,
    ):
        cached.cache_clear()
    for service in services:
        for method in service_definition(service).methods.values():
            method.marshals.clear()
