"""A snapshot as one HTML page for an incident's ticket: it needs no network and no spyglass."""
