"""Text that all views share: escaped strings, units, states, calls, sparklines. Imports no terminal library."""
