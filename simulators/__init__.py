"""The independent oracle: a small world with its own physics, and replay of recordings."""
