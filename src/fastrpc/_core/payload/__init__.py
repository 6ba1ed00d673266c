"""The content of messages: arguments and results, metadata, parameter names, and the scans before decoding."""
