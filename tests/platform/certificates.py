# SPDX-License-Identifier: Apache-2.0
"""Certificates for TLS tests, made with openssl: an authority, and below it a good server, an expired one, one with
another host's name, a client; and a stranger's authority with a client of its own."""

import pathlib
import subprocess

AUTHORITY = """[ca]
default_ca = ca
[ca]
database = {0}/index.txt
new_certs_dir = {0}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def _authority(directory, name):
    home = directory / name
    home.mkdir()
    (home / "index.txt").touch()
    (home / "ca.conf").write_text(AUTHORITY.format(home))
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 3650,
             "-subj", f"/CN=Test {name}", "-keyout", home / "ca.key", "-out", directory / f"{name}.crt",
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")


def _certificate(directory, authority, name, extension, start="20200101000000Z", end="20991231235959Z"):
    home = directory / authority
    _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
             "-addext", extension, "-keyout", directory / f"{name}.key", "-out", home / f"{name}.csr")
    _openssl("ca", "-batch", "-notext", "-config", home / "ca.conf", "-cert", directory / f"{authority}.crt",
             "-keyfile", home / "ca.key", "-startdate", start, "-enddate", end, "-in", home / f"{name}.csr",
             "-out", directory / f"{name}.crt")


def make(directory):
    """Returns a dict of paths: ca, stranger, and NAME and NAME_key for good, expired, wrong_host, client,
    stranger_client. What the directory holds already is used again."""
    directory = pathlib.Path(directory).absolute()
    if not (directory / "done").exists():
        directory.mkdir(parents=True, exist_ok=True)
        local = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
        _authority(directory, "ca")
        _authority(directory, "stranger")
        _certificate(directory, "ca", "good", local)
        _certificate(directory, "ca", "expired", local, end="20200102000000Z")
        _certificate(directory, "ca", "wrong_host", "subjectAltName=DNS:elsewhere.example")
        _certificate(directory, "ca", "client", "extendedKeyUsage=clientAuth")
        _certificate(directory, "stranger", "stranger_client", "extendedKeyUsage=clientAuth")
        (directory / "done").touch()
    paths = {"ca": directory / "ca.crt", "stranger": directory / "stranger.crt"}
    for name in ("good", "expired", "wrong_host", "client", "stranger_client"):
        paths[name] = directory / f"{name}.crt"
        paths[f"{name}_key"] = directory / f"{name}.key"
    return paths
