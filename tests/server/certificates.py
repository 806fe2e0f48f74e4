"""Certificates for tests, made with the `openssl` program: two authorities, and what they signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make(folder: Path) -> Path:
    """Writes `NAME.pem` and `NAME.key`: the authority `ca` with its `server` and `client`, and `other` with its `stranger`."""
    folder.mkdir()
    for name in ("ca", "other"):
        _openssl(folder, "req", "-x509", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")
    _signed(folder, "server", "ca", "IP:127.0.0.1,DNS:milvus.test")
    _signed(folder, "client", "ca", "DNS:client.test")
    _signed(folder, "stranger", "other", "DNS:client.test")
    return folder


def _signed(folder: Path, name: str, authority: str, names: str) -> None:
    _openssl(folder, "req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    (folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
    signer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial")
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signer, "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
