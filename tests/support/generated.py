"""Modules that grpcio-tools generates, of a small service of four methods, made when tests first ask for them."""

import importlib
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["Generated", "generated", "generated_from"]

PROTO = """
syntax = "proto3";
package shop.v1;

service Orders {
  rpc Get(Item) returns (Order);
  rpc Follow(Item) returns (stream Order);
  rpc Total(stream Item) returns (Order);
  rpc Talk(stream Item) returns (stream Order);
}

message Item {
  string name = 1;
  int32 count = 2;
}

message Order {
  string text = 1;
  int32 total = 2;
}
"""


class Generated(NamedTuple):
    """The two modules of the service."""

    pb2: Any
    pb2_grpc: Any

    @property
    def orders(self) -> Any:
        """The descriptor of the service."""
        return self.pb2.DESCRIPTOR.services_by_name["Orders"]


@cache
def generated() -> Generated:
    """Return the generated modules, as the installed grpcio-tools makes them."""
    return generated_from("orders", PROTO)


def generated_from(name: str, text: str) -> Generated:
    """Return the modules that grpcio-tools makes of a .proto file; a process has one of a name."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory() as folder:
        proto = Path(folder, f"{name}.proto")
        proto.write_text(text, encoding="utf-8")
        arguments = [
            "protoc",
            f"-I{folder}",
            # The files that protobuf brings along.
            f"-I{Path(protoc.__file__).with_name('_proto')}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            str(proto),
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError("protoc failed")
        return Generated(_imported(folder, f"{name}_pb2"), _imported(folder, f"{name}_pb2_grpc"))


def _imported(folder: str, name: str) -> ModuleType:
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)
