# What type checkers know of the package: its API, which the program loads only when it is used.
from ringcheck.cluster import Cluster as Cluster
from ringcheck.cluster import Login as Login
from ringcheck.cluster import Wishes as Wishes

__version__: str
