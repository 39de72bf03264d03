"""Statera: load balancer as a service over the OpenStack Load Balancer API v2."""

__version__ = "0.1.0"
