"""The control plane: reads records, asks the pure planners, writes what they decided. Sees ports, never adapters."""
