"""Services of a server of gRPC as our own servers describe theirs."""

from fastrpc.gateway.grpc_servers.described import describe_service
from tests.support.grpc_desk import POOL


def test_services_are_described_with_their_fields() -> None:
    put, send, ask = describe_service(POOL.FindServiceByName("shop.Desk"))["methods"]
    assert put["signature"] == (
        "Put(item_name: string, count: int64, size: Size, is_open: bool, content: bytes, weight: double,"
        " notes: repeated string, inner: Box, more: google.protobuf.Value, prices: map<string, int64>,"
        " detail: google.protobuf.Any, most: optional int64) -> Box"
    )
    assert send["signature"] == "Send(stream Box) -> google.protobuf.Value"
    assert (ask["kind"], ask["result"]) == ("server_stream", "stream Box")
