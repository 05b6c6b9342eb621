"""The port: whether it is free, or a Fairlead answers there, or somebody else has it."""

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import msgspec

from fairlead.cli.doctor import Finding
from fairlead.settings import Server

_SECONDS = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # who listens there answers here


def examine(server: Server) -> Iterator[Finding]:
    if server.port == 0:
        yield Finding("port", "ok", "any free one (server.port is 0)")
        return
    host = f"[{server.host}]" if ":" in server.host else server.host
    place = f"{host}:{server.port}"
    error = _taken(server.host, server.port)
    if error is None:
        yield Finding("port", "ok", f"{place} is free")
    elif error.errno == errno.EADDRINUSE:
        yield _whose(place, server)
    elif error.errno == errno.EACCES:
        to_do = "set server.port to 1024 or more, or let this user have it: setcap, or AmbientCapabilities= of systemd"
        yield Finding("port", "problem", f"{place} is not for this user to have", to_do)
    else:
        to_do = "set server.host to an address of this machine, or to 0.0.0.0 for all"
        yield Finding("port", "problem", f"{place} cannot be had: {error.strerror or error}", to_do)


def _taken(host: str, port: int) -> OSError | None:
    """Why nobody can listen there; None if one can. It binds as a server would, and does not listen: a gateway that
    starts just then is not in its way."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            with closing(socket.socket(family, kind, protocol)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except (OSError, UnicodeError) as error:
        return error if isinstance(error, OSError) else OSError(errno.EADDRNOTAVAIL, "that is no name of a host")
    return None


def _whose(place: str, server: Server) -> Finding:
    if _is_fairlead(_ANY.get(server.host, server.host), server.port, tls=bool(server.tls_certificate)):
        return Finding("port", "ok", f"a Fairlead answers at {place}")
    to_do = f"find out who it is (ss -ltnp 'sport = :{server.port}'), and end it or set another server.port"
    return Finding("port", "problem", f"somebody listens at {place} who does not answer as a Fairlead does", to_do)


def _is_fairlead(host: str, port: int, *, tls: bool) -> bool:
    """Whether /livez says so. No key goes there, so any certificate will do."""
    connection = HTTPConnection(host, port, timeout=_SECONDS)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(host, port, timeout=_SECONDS, context=context)
    try:
        connection.request("GET", "/livez", headers={"connection": "close"})
        response = connection.getresponse()
        named = (response.getheader("x-request-id") or "").startswith("gen-")
        return named and msgspec.json.decode(response.read(1024)) == {"status": "ok"}
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
