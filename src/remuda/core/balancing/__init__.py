"""Balancing rules: what a load balancer service is to do, and the haproxy configuration that does it. Pure."""
