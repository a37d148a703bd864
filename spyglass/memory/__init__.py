"""The bytes of a target."""
