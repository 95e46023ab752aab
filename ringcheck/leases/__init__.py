"""Leases: at most one owner at a time works on the nodes of a cluster; in a lock file or in etcd."""
