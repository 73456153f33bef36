"""The door for the API: change what an agent is to do. See :mod:`remuda.control.agents.assignments`."""

from remuda.control.agents.assignments import Assigner, assignment, change_instance, note

__all__ = ["Assigner", "assignment", "change_instance", "note"]
