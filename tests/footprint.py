"""What this process holds: memory, threads and handles, after a collection."""

import gc
import threading

import psutil


def footprint() -> dict[str, float]:
    gc.collect()
    process = psutil.Process()
    return {
        "rss_mb": process.memory_info().rss / 1e6,
        "threads": threading.active_count(),
        "files": process.num_fds(),
        "sockets": len(process.net_connections()),
    }
