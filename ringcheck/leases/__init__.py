"""Restart leases: which nodes are down, or about to be, on purpose, and who stopped them.

Owns the grant of a lease, the record of a cluster's leases, and the two stores that keep it: etcd and a lock file. May
import core, documents, http and config; does not know commands, the agent or rolling restarts, which all take their
leases here. Start with grant.py for the rule and why it is safe, then store.py for what a store must guarantee.
"""
