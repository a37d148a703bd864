"""Snapshots as documents for other programs."""
