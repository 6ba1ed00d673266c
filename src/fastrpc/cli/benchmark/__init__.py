"""`fastrpc bench`: the rate and the latency of a method.

command  the command itself;  run: one run of calls;  streams: one run of streams;  latency: a histogram
"""
