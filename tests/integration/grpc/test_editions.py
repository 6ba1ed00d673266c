"""Messages of files with `edition = "2023"` and `"2024"` through the servers and channels of generated code."""

from typing import Any

import pytest

import fastrpc.grpc
from fastrpc import Client, ClientConfig, Server, ServerConfig
from fastrpc.grpc import aio
from tests.support.generated import generated_from

pytestmark = pytest.mark.one_loop

#: Presence, an open and a closed enum, packed and unpacked numbers, and a delimited message, as features say.
FILE = """
edition = "%(edition)s";
package editions.v%(edition)s;

option features.utf8_validation = VERIFY;

enum Kind {
  option features.enum_type = CLOSED;
  KIND_FIRST = 1;
  KIND_SECOND = 2;
}

message Item {
  string name = 1;
  int32 count = 2 [features.field_presence = IMPLICIT];
  int32 kept = 3 [features.field_presence = LEGACY_REQUIRED];
  repeated int32 numbers = 4 [features.repeated_field_encoding = EXPANDED];
  Part part = 5 [features.message_encoding = DELIMITED];
  Kind kind = 6 [default = KIND_SECOND];
  map<string, Part> parts = 7;

  message Part {
    bytes content = 1;
  }
}

service Items {
  rpc Get(Item) returns (Item);
  rpc Follow(Item) returns (stream Item);
}
"""


class Items:
    async def Get(self, request: Any, context: Any) -> Any:
        return request

    async def Follow(self, request: Any, context: Any) -> Any:
        for number in request.numbers:
            answer = type(request)()
            answer.CopyFrom(request)
            answer.count = number
            yield answer


@pytest.mark.parametrize("edition", ["2023", "2024"])
class TestEditions:
    def item(self, code: Any) -> Any:
        item = code.pb2.Item(name="tea", kept=0, numbers=[1, 300])
        item.part.content = b"\x00\xff"
        item.parts["a"].content = b"b"
        return item

    async def test_generated_code_is_served_and_called(self, edition: str) -> None:
        code = generated_from(f"items_{edition}", FILE % {"edition": edition})
        server = aio.server()
        code.pb2_grpc.add_ItemsServicer_to_server(Items(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        item = self.item(code)
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = code.pb2_grpc.ItemsStub(channel)
            answer = await stub.Get(item, timeout=20)
            assert answer == item
            assert (answer.HasField("kept"), answer.HasField("kind"), answer.kind) == (True, False, 2)
            assert [one.count async for one in stub.Follow(item, timeout=20)] == [1, 300]
        await server.stop(None)

    async def test_a_descriptor_is_served_and_described(self, edition: str) -> None:
        code = generated_from(f"items_{edition}", FILE % {"edition": edition})
        descriptor = code.pb2.DESCRIPTOR.services_by_name["Items"]
        config = ServerConfig(protocols=("native", "grpc"))
        async with Server(fastrpc.grpc.service(descriptor, Items()), config=config) as server:
            address = await server.listen("tcp://127.0.0.1:0")
            async with Client(f"grpc://{address.host}:{address.port}", config=ClientConfig()) as client:
                item = self.item(code)
                assert await fastrpc.grpc.stub(descriptor, client).Get(item) == item
