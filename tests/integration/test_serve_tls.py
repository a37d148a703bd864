"""`spyglass serve` where other hosts reach it: with TLS, and a certificate that clients check."""

from __future__ import annotations

import signal
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.certificates import make_certificates
from tests.command import SPYGLASS
from tests.serving import TOKEN


def test_a_server_with_a_certificate(tmp_path: Path) -> None:
    files, token = make_certificates(tmp_path), tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    command = [*SPYGLASS, "serve", "--listen", "0.0.0.0:0", "--token-file", str(token)]
    command += ["--tls-cert", str(files.certificate), "--tls-key", str(files.key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().strip()
            assert url.startswith("https://0.0.0.0:")
            port = urlsplit(url).port
            assert port is not None
            _ask(port, files.authority)
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


def test_a_server_ends_that_is_asked_to_before_it_serves() -> None:
    command = [*SPYGLASS, "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        try:
            assert server.wait(60) == 0
        finally:
            server.kill()


def _ask(port: int, authority: Path) -> None:
    context = ssl.create_default_context(cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with httpx2.Client(verify=context, timeout=60) as client:
        for host in ("localhost", "127.0.0.1"):
            base = f"https://{host}:{port}"
            assert client.get(f"{base}/v1/processes").status_code == 401
            answer = client.get(f"{base}/v1/processes?token={TOKEN}")
            assert answer.status_code == 200
            assert "; Secure" in answer.headers["set-cookie"]
    with httpx2.Client(timeout=60) as client:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get(f"https://localhost:{port}/healthz")
        with pytest.raises(httpx2.TransportError):  # no answer without TLS
            client.get(f"http://localhost:{port}/healthz")
