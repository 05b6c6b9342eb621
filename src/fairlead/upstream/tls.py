"""TLS towards providers: always verified, by the system's authorities or by those of a file."""

import ssl
from functools import lru_cache

from fairlead.errors import ConnectFailed


@lru_cache(maxsize=64)
def context(ca_file: str | None) -> ssl.SSLContext:
    """The context that trusts `ca_file`, or the system. Raises ConnectFailed if the file cannot be used."""
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConnectFailed(f"the certificates of {ca_file} cannot be used: {error}") from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    return made
