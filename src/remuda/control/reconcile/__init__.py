"""Loops that bring what is toward what is wanted, under leases."""
