"""A fuzzer of whole commands: it changes nodes' answers and snapshot files at random, and judges the output."""
