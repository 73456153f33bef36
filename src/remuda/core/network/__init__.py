"""What hosts work out for themselves about the network of their environment: names, metadata, policy. Pure.

All of it is a function of the *scene* (:mod:`remuda.core.network.scene`), so that it goes on without a server.
"""
