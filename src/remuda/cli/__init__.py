"""The ``remuda`` command: a pure client of the public API that starts fast and speaks in sentences."""
