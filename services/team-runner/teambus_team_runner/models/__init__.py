"""Models: all that knows a model client. Its seam to the engine is `port`."""
