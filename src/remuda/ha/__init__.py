"""Management nodes: the start-up script, and the supervisor that keeps the parts of a node running."""
