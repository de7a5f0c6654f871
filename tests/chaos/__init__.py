"""What holds about money while processes are killed, lines break and gateways answer oddly."""
