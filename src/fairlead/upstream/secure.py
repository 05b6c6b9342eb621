"""TLS on a connection to an upstream: between the socket's transport and the protocol that speaks over it.

The event loop's own TLS asks OpenSSL once more after every read, to be told by an exception that there is nothing more,
which costs as much as the reading (docs/decisions/0012). Here it is asked only while something is left.
"""

import asyncio
import ssl
from typing import Any

_RECORD_BYTES = 16 << 10  # the most that a record holds: https://www.rfc-editor.org/rfc/rfc8446#section-5.1


class Secured(asyncio.Transport, asyncio.Protocol):
    """The protocol of the socket's transport (`below`), and the transport of the protocol `above`."""

    def __init__(self, below: asyncio.Transport, above: asyncio.Protocol, context: ssl.SSLContext, host: str) -> None:
        self._below, self._above = below, above
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._ends_whole = False  # what came last ended with a record
        self._shaken: asyncio.Future[None] | None = None  # while hands are being shaken
        self._error: Exception | None = None

    async def handshake(self) -> None:
        """Until both sides know each other. Raises OSError (an SSLError, too)."""
        shaken = self._shaken = asyncio.get_running_loop().create_future()
        self._below.set_protocol(self)
        self._shake()
        await shaken

    def _shake(self) -> bool:
        """Go as far as what has come allows; whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except OSError as error:
            self._end_handshake(error)
            return False
        finally:
            self._flush()  # if it failed, an alert that says why
        self._end_handshake()
        return True

    def _end_handshake(self, error: Exception | None = None) -> None:
        shaken, self._shaken = self._shaken, None
        if shaken is not None and not shaken.done():
            if error is None:
                shaken.set_result(None)
            else:
                shaken.set_exception(error)

    # ---- told by the socket's transport

    def data_received(self, data: bytes) -> None:
        incoming, tls = self._incoming, self._tls
        incoming.write(data)
        if self._shaken is not None and not self._shake():
            return
        pieces, closed = [], False
        # A read takes all of a record, so that nothing of it is left in OpenSSL. None has more text than bytes.
        most = len(data) if self._ends_whole else _RECORD_BYTES
        self._ends_whole = True
        try:
            while incoming.pending:
                piece = tls.read(most)
                if not piece:
                    closed = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:  # a record that is not whole, or has no data in it
            self._ends_whole = False
        except ssl.SSLError as error:
            self._break(error)
            return
        if self._outgoing.pending:  # what TLS has to say for itself
            self._flush()
        if pieces:
            self._above.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if closed and not self._below.is_closing():
            self._above.eof_received()
            self._below.close()

    def eof_received(self) -> None:
        """Without a word of TLS: whatever has no end of its own may have been cut off."""
        self._break(ConnectionResetError("closed without close_notify"))

    def _break(self, error: Exception) -> None:
        self._error = error
        self._below.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        error = self._error or exc
        self._end_handshake(error or ConnectionResetError("closed during the TLS handshake"))
        self._above.connection_lost(error)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    # ---- asked by the protocol above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._break(error)
        else:
            self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._below.write(data)

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def abort(self) -> None:
        self._below.abort()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls if name == "ssl_object" else self._below.get_extra_info(name, default)
