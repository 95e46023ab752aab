"""Restarting nodes without losing a query: leases, the runner, its journal."""
