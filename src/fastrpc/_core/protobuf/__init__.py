"""The codec of protobuf messages whose schema comes from Python's types: their bytes <-> payloads of msgpack.

::

    message           the messages of a schema, as tables
    message_decoder   bytes of a message ─► plain values, which msgspec decodes to the values of the program
    message_encoder   values, encoded by msgspec ─► bytes of a message

Plain values are converted to a payload of msgpack, so that they are checked, converted and refused as on every other
wire.
"""
