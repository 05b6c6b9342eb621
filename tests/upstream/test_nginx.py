"""The client against nginx, plain and over TLS."""

import os
import random
import shutil
import socket
import ssl
import subprocess
import time

import pytest
import trustme

from fairlead.errors import ConnectFailed
from misbehaving import Misbehaving, asked, asking, ok

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(not os.path.exists(NGINX), reason="not on this machine: nginx")

CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_timeout 75s 3s; client_max_body_size 10k;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  gzip on; gzip_types *; gzip_min_length 1; gzip_http_version 1.0;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    location /name {{ return 200 "$ssl_server_name $ssl_protocol"; }}
    location /last {{ keepalive_requests 1; return 200 "last"; }}
    location /up {{ proxy_pass http://127.0.0.1:1; }}
    location / {{ root {folder}; }}
  }}
}}
"""


class Nginx:
    def __init__(self, folder):
        self.plain, self.secure = free_port(), free_port()
        authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        (folder / "big").write_bytes(bytes(range(256)) * 20_000)
        (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, plain=self.plain, secure=self.secure))
        self.process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while time.monotonic() < until and self.process.poll() is None:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", self.secure)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError((folder / "error.log").read_text())


def free_port():
    while True:
        port = random.SystemRandom().randrange(15000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    server = Nginx(tmp_path_factory.mktemp("nginx"))
    yield server
    server.process.terminate()
    server.process.wait(10)


@pytest.fixture(params=["plain", "TLS"])
def asking_nginx(request, nginx):
    def ask(start, body=b"", **more):
        if request.param == "plain":
            return asking(f"http://127.0.0.1:{nginx.plain}", body, start=start, **more)
        return asking(f"https://127.0.0.1:{nginx.secure}", body, start=start, ca_file=nginx.ca_file, **more)

    return ask


async def test_large_and_small_answers_come_whole_over_one_connection(pool, asking_nginx):
    for _ in range(3):
        response, body = await asked(pool, asking_nginx(b"GET /big"))
        assert response.status == 200
        assert body == bytes(range(256)) * 20_000
        response, _ = await asked(pool, asking_nginx(b"HEAD /big"))
        assert response.headers[b"content-length"] == b"5120000"
        response, _ = await asked(pool, asking_nginx(b"GET /missing"))
        assert response.status == 404
    assert pool.open_connections == 1


async def test_nginx_announces_how_long_it_keeps_a_connection(pool, asking_nginx):
    await asked(pool, asking_nginx(b"GET /name"))
    (connections,) = pool._origins.values()
    assert connections.idle[0].keep_seconds == 2


async def test_the_last_answer_of_a_connection_is_whole(pool, asking_nginx):
    for _ in range(3):
        _, body = await asked(pool, asking_nginx(b"GET /last"))
        assert body == b"last"
        assert pool.open_connections == 0


@pytest.mark.parametrize("size", [20_000, 3_000_000])
async def test_a_body_that_is_too_large_is_refused_before_it_is_wholly_sent(pool, asking_nginx, size):
    response, _ = await asked(pool, asking_nginx(b"POST /up", b"x" * size))
    assert response.status == 413


async def test_many_at_once(pool, asking_nginx):
    import asyncio

    answers = await asyncio.gather(*(asked(pool, asking_nginx(b"GET /big")) for _ in range(20)))
    assert {len(body) for _, body in answers} == {5_120_000}
    assert pool.open_connections == pool.idle_connections == 20


async def test_the_server_is_told_the_name_it_is_asked_for(pool, nginx):
    _, body = await asked(
        pool, asking(f"https://localhost:{nginx.secure}", b"", start=b"GET /name", ca_file=nginx.ca_file)
    )
    assert body.startswith(b"localhost TLSv1.")


async def test_a_certificate_of_an_unknown_authority_is_refused(pool, nginx):
    with pytest.raises(ConnectFailed) as caught:
        await pool.send(asking(f"https://localhost:{nginx.secure}"))
    assert "certificate is not valid" in caught.value.message
    assert not caught.value.retryable
    assert pool.open_connections == 0


async def test_a_certificate_of_another_name_is_refused(pool, nginx):
    with pytest.raises(ConnectFailed) as caught:
        await pool.send(asking(f"https://127.0.0.2:{nginx.secure}", ca_file=nginx.ca_file))
    assert caught.value.message
    assert pool.open_connections == 0


async def test_a_server_that_speaks_no_TLS_is_not_connected_to(pool):
    async with Misbehaving(ok(), read_request=False, close=True) as server:
        with pytest.raises(ConnectFailed):
            await pool.send(asking(server.url.replace("http", "https")))
        assert pool.open_connections == 0


async def test_certificates_that_cannot_be_read_are_named_as_the_fault(pool, tmp_path):
    for ca_file in (tmp_path / "absent.pem", tmp_path):
        with pytest.raises(ConnectFailed) as caught:
            await pool.send(asking("https://127.0.0.1:1", ca_file=str(ca_file)))
        assert "ca_file" in caught.value.message
    assert ssl.get_default_verify_paths()
