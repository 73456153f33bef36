"""Repositories by the git command."""

from remuda.adapters.git.command import GitCommand

__all__ = ["GitCommand"]
