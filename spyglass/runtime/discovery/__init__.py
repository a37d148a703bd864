"""Finding the Go runtime in a target: module data, globals, layouts, and the fields that are read."""
