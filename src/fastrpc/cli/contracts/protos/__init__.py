"""A contract from protobuf descriptors, of a .proto file or from a gRPC server.

::

    compiling          a .proto file ─► descriptors, by protoc;  files: descriptors with comments and options
    naming             a Python name for each message, enum, field, value and method
    types              fields ─► annotations and defaults
    messages, enums    classes;  services: the class of a service
    lost               the parts that no class can express: a comment and a warning each
    layout             lines in the layout of formatters;  module: the whole source

No module imports the protobuf package before a .proto file is read or a server of gRPC is asked.
"""
