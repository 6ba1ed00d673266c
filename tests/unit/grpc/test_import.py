"""What an import of the package loads."""

import subprocess
import sys

CHECK = """
import sys
import fastrpc.grpc
assert fastrpc.grpc.AnyMessage
loaded = [name for name in ("grpc", "google.protobuf") if name in sys.modules]
assert not loaded, loaded
from fastrpc.grpc import Handlers, service, stub
loaded = [name for name in ("grpc", "google.protobuf") if name in sys.modules]
assert not loaded, loaded
"""


def test_the_package_loads_neither_grpcio_nor_protobuf() -> None:
    subprocess.run([sys.executable, "-c", CHECK], check=True)


def test_unknown_names_are_refused() -> None:
    import fastrpc.grpc

    assert not hasattr(fastrpc.grpc, "xds_server")
