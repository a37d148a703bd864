"""The live view: what is on its screen as pure data, what feeds it, and the terminal's part of it."""
