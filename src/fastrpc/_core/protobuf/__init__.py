"""The codec for protobuf messages whose schema is derived from Python types: it converts them to and from msgpack
payloads.

::

    message           the messages of a schema, as tables
    message_decoder   bytes of a message ─► plain values, which msgspec decodes to the values of the program
    message_encoder   values, encoded by msgspec ─► bytes of a message

Plain values are payloads of msgpack, so that they are checked, converted and refused in the same way as in every other
protocol.
"""
