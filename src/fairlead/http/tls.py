"""The certificate of the server, read again when its files change."""

import logging
import ssl
from pathlib import Path

log = logging.getLogger("fairlead.server")


class Certificate:
    """A TLS context whose certificate follows its files. New connections get the new one; old ones go on."""

    def __init__(self, certificate: str, key: str) -> None:
        """Raises OSError (ssl.SSLError is one), naming the file that does not serve."""
        self._files = Path(certificate), Path(key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._seen = self._state()
        self._load(self.context)

    def look(self) -> None:
        """Take the files if they have changed; if they are no certificate and its key, keep what there is."""
        try:
            state = self._state()
            if state == self._seen:
                return
            self._seen = state
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # elsewhere first: a half-written pair changes nothing
            self._load(self.context)
            log.info("the certificate in %s was read again", self._files[0])
        except OSError as error:
            log.error("the certificate is not changed: %s", error)

    def _state(self) -> list[tuple[int, int, int]]:
        return [(told.st_mtime_ns, told.st_size, told.st_ino) for told in (file.stat() for file in self._files)]

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            raise OSError(f"{certificate} and {key} are no certificate and its key ({reason})") from None


def _no_password() -> str:
    raise OSError("the key needs a password: store it without one, readable by this user alone")
