"""One program takes the place of another that serves, and no connection is refused.

    takeover         the new program: gets the listening sockets
    control          the program that serves: gives them away over its control socket, and drains
    control_channel  their messages

It imports nothing else of `workers/`.
"""
