"""TLS: whether certificate and key can be read, belong together, and are valid for a while."""

import ssl
import time
from collections.abc import Iterator, Mapping

from fairlead.cli.doctor import Finding
from fairlead.http.tls import Certificate
from fairlead.settings import Server

_SOON_DAYS = 14
_DAY = 86_400
_NO_CHECK_TIME = 0x200000  # https://docs.openssl.org/3.0/man3/X509_VERIFY_PARAM_set_flags/
_TURNS = 10  # of a handshake, which takes three


def examine(server: Server) -> Iterator[Finding]:
    """Nothing, where the gateway does not speak TLS itself."""
    if not server.tls_certificate:
        return
    facts = {"certificate": server.tls_certificate, "key": server.tls_key}
    try:
        begin, end = validity(server.tls_certificate, server.tls_key)
    except OSError as error:  # an SSLError, too
        told = (
            error.reason
            if isinstance(error, ssl.SSLError)
            else error.strerror and f"{error.filename}: {error.strerror}"
        )
        to_do = "set server.tls_certificate and server.tls_key to a certificate with its chain and to its key, in PEM"
        yield Finding("certificate", "problem", f"{told or error}", to_do, facts)
        return
    yield judged(begin, end, time.time(), facts)


def judged(begin: float, end: float, now: float, facts: Mapping[str, object]) -> Finding:
    """`begin` and `end` of its validity, epoch seconds."""
    facts = {**facts, "valid_from": int(begin), "valid_to": int(end)}
    days = (end - now) / _DAY
    day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))
    if now < begin:
        return Finding("certificate", "problem", "is not valid yet", "see the clock, or wait", facts)
    if days <= 0:
        to_do = "renew it; a running gateway takes the new files by itself"
        return Finding("certificate", "problem", f"expired on {day}", to_do, facts)
    if days < _SOON_DAYS:
        to_do = "renew it; a running gateway takes the new files by itself"
        return Finding("certificate", "warning", f"expires on {day}, in {days:.0f} days", to_do, facts)
    return Finding("certificate", "ok", f"belongs to its key, and is valid until {day}", "", facts)


def validity(certificate: str, key: str) -> tuple[float, float]:
    """From when to when it is valid, epoch seconds. Raises OSError for files that are no certificate and its key.

    The standard library decodes a certificate for whoever has verified it, so a client that trusts this very one
    meets a server that has it, in memory.
    """
    server = Certificate(certificate, key).context
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_TURNS):
        waiting = 0
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting += 1
        if not waiting:
            break
    told = asking.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(told["notBefore"])), ssl.cert_time_to_seconds(str(told["notAfter"]))
