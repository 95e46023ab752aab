"""A soak of the agent: many polls in a short time, of clusters that change all the time, and what the agent keeps.

`churn.py` has the clusters and what happens to them, `_agent.py` has the agent as a process that polls and counts on
request, and `running.py` drives both. `python -m tests.soak --help` runs them.
"""
