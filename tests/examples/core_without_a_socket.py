"""The core is driven by bytes: two connections, no socket, no loop, no clock but the one that is handed in."""

from fastrpc_harness.recording import RecordingConnection

client = RecordingConnection(is_client=True)
server = RecordingConnection(is_client=False)
client.open_call(b"arith.mul", b"\x92\x06\x07", codec=1)
for event in server.receive_data(client.data_to_send()):
    print("server:", event)
server.respond(1, b"\x2a")
for event in client.receive_data(server.data_to_send()):
    print("client:", event)
