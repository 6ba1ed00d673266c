"""All places where fastrpc calls code of its user, as scenes in which that code raises anything.

A scene gets `fail`, which raises, and returns once the process has shown that it still works.
"""
