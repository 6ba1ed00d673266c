"""The views of the console by name, one file each. `base` has their input; they may not import each other."""
