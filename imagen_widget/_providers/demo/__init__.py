"""A fal-compatible queue that needs no account and draws its own pictures."""
