"""A soak of the agent: many polls of clusters that change all the time, in little time, and what the agent still holds.

`churn.py` has the clusters and what happens to them, `_agent.py` the agent as a process that can be made to poll and to
count, and `running.py` lets both go on. `python -m tests.soak --help` runs them.
"""
