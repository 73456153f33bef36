"""Composition roots: the only modules that name adapters."""
