"""The admin pages of a server: its state and its figures over HTTP, and changes of it by operators.

Imported only when a server with `ServerConfig.admin_address` starts.
"""
