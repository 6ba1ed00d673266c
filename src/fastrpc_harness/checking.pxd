"""What a stream does when an instant has passed, at an instant of one's choice."""
