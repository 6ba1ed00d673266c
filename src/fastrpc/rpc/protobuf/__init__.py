"""The protobuf schema of typed classes, and payloads in this schema, without the protobuf package.

::

    field, declared             `Field`, settings of a field;  `fastrpc.grpc.proto`, settings of a class
    annotations                 the types and settings in an annotation
    messages, derivation        a schema as plain objects; types ─► messages
    methods, marshals           the messages of a method; its marshal for gRPC
    json_decoder, json_encoder  messages as JSON
    packages, names             the names in a package ─► text, a .proto file;  descriptors, for reflection
    descriptor_wire             writes descriptors, and reads the names in them
    imported_files              the .proto files that classes declare as their own
    known_files                 the files of google.protobuf and of gRPC's own services
    generated_files             the needed parts of generated code's files; needs the protobuf package
    reflection_messages         requests and responses of gRPC's reflection

The compiled codec is `_core/protobuf`.
"""
