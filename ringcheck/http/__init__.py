"""HTTP in bounded time: sockets with a deadline, bounded replies, threads. Knows nothing of Jolokia."""
