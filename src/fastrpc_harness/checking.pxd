"""The checks that a stream makes once an instant has passed, at a chosen instant."""
