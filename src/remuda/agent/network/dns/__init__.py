"""The name server of a host: answers for the environment's own names, passes on everything else."""
