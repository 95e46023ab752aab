"""The long-running service: it polls every configured cluster, and serves the results.

Owns the watches, the HTTP server with its pages, metrics and API, FleetLock, the log, and the events to Sensu. May
import sources for polls, core for verdicts and the gate, leases and restart for holders and grants, history, config and
http, and report and documents for output. Start with watch.py (one cluster), service.py (all clusters), then web.py
(the table of routes). client.py is the other side: how `check --agent` asks a running agent.
"""
