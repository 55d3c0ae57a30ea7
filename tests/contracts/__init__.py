"""Contract tests that any implementation of a seam can run."""
