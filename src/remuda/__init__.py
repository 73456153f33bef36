"""Remuda: a highly available container platform for plain Docker hosts."""

__version__ = "0.1.0"
