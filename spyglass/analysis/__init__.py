"""Questions asked of snapshots, one per module."""
