"""A host's Docker engine, over its socket."""
