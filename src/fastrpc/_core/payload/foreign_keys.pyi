"""Keys of metadata that came by protocols of Go programs; no Python face."""
