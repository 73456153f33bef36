"""Implementations of the ports: one folder per outside thing, none of which knows another."""
