"""The built user interface in a real browser, against real servers."""
