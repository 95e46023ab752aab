"""HTTP in bounded time and memory, with errors that an operator understands.

Owns sockets with a total deadline, replies with a size limit, TLS settings, password files, and threads that never
delay the end of the process. Imports nothing of ringcheck but `errors`, and knows nothing of Jolokia, etcd or Sensu:
the rooms `jolokia`, `leases` and `agent` build their protocols on it. Start reading in `exchange`, which makes one
request with all of it; `sockets` says why the timeout of a Python socket is not enough.
"""
