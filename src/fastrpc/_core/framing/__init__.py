"""The frames of the native protocol, their encoding, and SETTINGS."""
