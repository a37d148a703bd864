"""The Model Context Protocol: tools for an assistant, over stdio and as a path of the server."""
