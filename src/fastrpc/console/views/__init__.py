"""The views of the console by name, one file each. `base` has what they get; they may not import each other."""
