"""Detection over HTTP on Ray Serve."""
