"""`fastrpc contract`: contracts read from servers, modules and files, written as source, and compared.

command       the command itself;  source: the origin of a contract
text          a contract as Python source: classes, defaults, names
protos        the contract of a .proto file, or of a server of gRPC: classes with its messages
check         compares two versions of a service;  type_comparison, type_tree: two versions of a type
"""
