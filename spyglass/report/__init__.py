"""The HTML report of a snapshot: one file that needs no network and no spyglass."""
