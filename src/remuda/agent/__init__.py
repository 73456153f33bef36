"""On each Docker host: keeps the containers as the servers want them, also while no server can be reached."""
