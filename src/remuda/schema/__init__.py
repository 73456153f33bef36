"""Every resource type declared once, as data. API, validation, documentation, CLI and UI are derived from it."""
