"""What a message carries: arguments and results, metadata, parameter names, and the scans before they are decoded."""
