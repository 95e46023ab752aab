"""TLS settings: paths only, so that reading a configuration does not import an HTTP library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a TLS client trusts and presents.

    Attributes:
        ca_file: PEM file with the certificate authorities to trust instead of the system's.
        cert_file: PEM file with the client certificate, and with its key if `key_file` is None.
        key_file: PEM file with the client certificate's key.
        insecure_skip_verify: accept any server certificate.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure_skip_verify: bool = False
