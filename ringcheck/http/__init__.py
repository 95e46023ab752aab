"""HTTP in bounded time and memory, with errors that an operator understands.

Owns sockets with a total deadline, replies with a size limit, TLS settings, password files, and threads that never
delay the end of the process. Imports only `errors` from ringcheck, and does not know Jolokia, etcd or Sensu: the rooms
`jolokia`, `leases` and `agent` build their protocols on it. Start reading in `exchange`, which makes one request with
all of these; `sockets` explains why the timeout of a Python socket is not enough.
"""
