"""The long-running service: polls every configured cluster and tells what it saw."""
