"""The live view ``spyglass top``: its state as data, its feed of snapshots, and the terminal application."""
