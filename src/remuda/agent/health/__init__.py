"""Probing containers: those of other hosts that this one observes, and its own where nobody else can."""
