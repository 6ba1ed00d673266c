"""The protobuf schema of typed classes, and the payloads that follow it, without the protobuf package.

::

    field, declared             `Field`, of a field;  `fastrpc.grpc.proto`, of a class
    annotations                 the type behind an annotation
    messages, derivation        a schema as plain objects; types ─► messages
    methods, marshals           the messages of a method; its marshal on the wire of gRPC
    json_decoder, json_encoder  messages as JSON
    packages, names             the names in a package ─► text, a .proto file;  descriptors, for reflection
    descriptor_wire             writes descriptors, and reads the names in them
    imported_files              files in which classes declare to be
    known_files                 the files of google.protobuf and of gRPC's own services
    generated_files             the files of generated code, cut down; needs the protobuf package
    reflection_messages         questions and answers of gRPC's reflection

The compiled codec is `_core/protobuf`.
"""
