"""Honest stand-ins that several suites share."""
