"""How much callers may ask for: rates and calls in progress by key. It knows no call and no clock of its own."""
