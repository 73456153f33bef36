"""Several Docker hosts on one machine, with a database, a load balancer and faults on request."""
