"""The version of this package, where nothing else has to be imported for it."""

__version__ = "0.3.0"
