"""Where a container may go: filters that check and explain, a score that spreads, and the pipeline that joins them."""
