"""`fastrpc gateway`: the services of a registry by HTTP.

command     the command itself;  catalogue: the services that it serves
forwarding  passes calls on;  forwarded_types: their types as reflection describes them
"""
