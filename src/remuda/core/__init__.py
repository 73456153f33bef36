"""The pure heart: values, state graphs and planners. No clock, no random numbers, no log, no await, no I/O."""
