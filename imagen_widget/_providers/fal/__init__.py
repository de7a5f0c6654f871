"""fal's queue protocol: fal itself, gateways that pass it on, and the built-in demo."""
