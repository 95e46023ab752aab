"""A fuzzer of the whole command: bends what nodes answer and what snapshot files hold, and judges what is printed."""
