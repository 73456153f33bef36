"""Figures, measured in the bed against real engines and printed with the load of the machine. `make bench` runs them."""
