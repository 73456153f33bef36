"""The load balancers that run on this host: their configuration, kept in step with the scene."""
