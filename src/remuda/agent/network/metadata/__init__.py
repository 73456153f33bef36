"""The metadata service of a host: what containers may read of themselves and their environment, over plain HTTP."""
