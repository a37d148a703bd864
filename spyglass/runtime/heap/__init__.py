"""Memory as the runtime accounts for it."""
