"""TLS contexts, made once for each set of trusted certificates: reading the system's costs tens of milliseconds."""

import asyncio
import os
import ssl

from fairlead.errors import ConnectFailed

_Stamp = tuple[str, int, int]  # path, time of the last change, size: a renewed file is read again


class Contexts:
    """Client contexts that verify certificate and name."""

    def __init__(self) -> None:
        self._contexts: dict[str | None, tuple[_Stamp | None, ssl.SSLContext]] = {}
        self._reading = asyncio.Lock()  # a thousand first connections read the certificates once

    async def get(self, ca_file: str | None) -> ssl.SSLContext:
        """The context that trusts the certificates in `ca_file`, or the system's. Raises ConnectFailed."""
        try:
            stamp = _stamp(ca_file) if ca_file is not None else None
            if (kept := self._kept(ca_file, stamp)) is not None:
                return kept
            async with self._reading:
                if (kept := self._kept(ca_file, stamp)) is not None:
                    return kept
                context = await asyncio.to_thread(_context, ca_file)
                self._contexts[ca_file] = stamp, context
        except OSError as error:  # an SSLError, too: not a certificate
            raise ConnectFailed(f"the certificates in ca_file cannot be read: {error.strerror or error}") from error
        return context

    def _kept(self, ca_file: str | None, stamp: _Stamp | None) -> ssl.SSLContext | None:
        kept = self._contexts.get(ca_file)
        return kept[1] if kept is not None and kept[0] == stamp else None


def _stamp(path: str) -> _Stamp:
    status = os.stat(path)
    return path, status.st_mtime_ns, status.st_size


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
