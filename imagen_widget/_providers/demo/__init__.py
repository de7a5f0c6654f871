"""The built-in demo queue."""
