"""Snapshots, differences and process lists as text for a terminal."""
