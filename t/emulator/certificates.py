"""A certificate authority and a server certificate, made at run time.

The names are Google's own, so that a client under test can verify them as it
would the real ones, with only the CA file exchanged.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("storage.googleapis.com", "localhost", "*.googleapis.com",
         "*.storage.googleapis.com", "oauth2.googleapis.com")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key) \
        -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    day = datetime.timedelta(days=1)
    return (x509.CertificateBuilder()
            .subject_name(subject).issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day).not_valid_after(now + 30 * day)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                critical=False))


def _usage(**names: bool) -> x509.KeyUsage:
    fields = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment",
         "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"), False)
    fields.update(names)
    return x509.KeyUsage(**fields)


def create(directory: str, extra_names: tuple[str, ...] = ()) \
        -> tuple[str, str]:
    """Write ca.pem and server.pem (with its key); return both paths."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("emulator test CA")
    ca = (_builder(ca_name, ca_name, ca_key)
          .add_extension(x509.BasicConstraints(ca=True, path_length=0),
                         critical=True)
          .add_extension(_usage(key_cert_sign=True, crl_sign=True),
                         critical=True)
          .sign(ca_key, hashes.SHA256()))

    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name) for name in (*NAMES, *extra_names)]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    server = (_builder(_name("storage.googleapis.com"), ca_name, key)
              .add_extension(x509.BasicConstraints(ca=False, path_length=None),
                             critical=True)
              .add_extension(_usage(digital_signature=True), critical=True)
              .add_extension(x509.ExtendedKeyUsage(
                  [ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
              .add_extension(
                  x509.AuthorityKeyIdentifier.from_issuer_public_key(
                      ca_key.public_key()), critical=False)
              .add_extension(x509.SubjectAlternativeName(names),
                             critical=False)
              .sign(ca_key, hashes.SHA256()))

    pem = serialization.Encoding.PEM
    ca_file = os.path.join(directory, "ca.pem")
    server_file = os.path.join(directory, "server.pem")

    with open(ca_file, "wb") as file:
        file.write(ca.public_bytes(pem))

    descriptor = os.open(server_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                         0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(server.public_bytes(pem))
        file.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption()))

    return ca_file, server_file


def server_context(server_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
