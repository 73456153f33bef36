"""The network of one host: overlay, tunnels, published ports, policy, names, metadata.

The agent decides what is to be (:mod:`.state`) and writes it down; the *network service*, a process of its own that
outlives the agent, brings the kernel there and answers names. So an agent that dies takes nothing with it.
"""
