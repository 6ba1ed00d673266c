"""`fastrpc call`: one call from the command line.

command           the command itself, with options that other commands share;  http, http_place: a call by HTTP
values            the arguments as they are written;  method_kinds: streams and types of the method
standard_streams  input and output by lines
"""
