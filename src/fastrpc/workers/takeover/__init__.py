"""Replacement of a serving program by another program, without refused connections.

    takeover         the new program: gets the listening sockets
    control          the serving program: sends the sockets over its control socket, and drains
    control_channel  their messages

This package imports no other module of `workers/`.
"""
