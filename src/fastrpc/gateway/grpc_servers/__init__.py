"""gRPC servers, called without generated code, by the descriptors from their reflection.

::

    reflection    asks a server ─► descriptors ─► pool, from which the protobuf package makes messages
    described     descriptors ─► services and methods, in the form of fastrpc's own descriptions
    methods       a method with the types of its messages: values of JSON ─► message ─► answer ─► values
    details       details of errors ─► values

No module imports the protobuf package before a server of gRPC is asked.
"""
