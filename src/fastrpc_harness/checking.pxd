"""The checks of a stream that are due at an instant, run at an instant that the test chooses."""
