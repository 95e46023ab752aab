"""What is true of a ring. Pure: no I/O, no clock, no environment, no logging, no third-party import."""
