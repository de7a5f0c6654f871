"""The benchmarks: ours beside fal-client and beside raw sockets, in one run."""
