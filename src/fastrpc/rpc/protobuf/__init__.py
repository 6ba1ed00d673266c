"""The protobuf schema of typed classes, and the payloads that follow it, without the protobuf package.

    field           `Field`: the number and kind of a field, in `Annotated`
    messages        a schema as plain objects
    derivation      types ─► messages;  methods: the messages of a method
    marshals        the marshal of a method on the wire of gRPC

The compiled codec is `_core/protobuf`.
"""
