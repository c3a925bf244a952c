"""A throw-away certificate authority for the local world.

The Azure SDKs refuse plain HTTP, so every emulator speaks TLS with a certificate from here. Services trust it through
``SSL_CERT_FILE`` alone and need no code of their own for it.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Authority:
    """A CA and one server certificate for loopback and one host more, as PEM files in one folder."""

    bundle_path: Path
    server_cert_path: Path
    server_key_path: Path

    @classmethod
    def create(cls, folder: Path, host: str = "127.0.0.1") -> Authority:
        """Makes a new CA in ``folder`` (private keys are readable by the owner only; the CA's own is never stored)."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nbhd local CA")])
        now = datetime.datetime.now(datetime.UTC)
        ca_cert = (
            x509.CertificateBuilder(
                ca_name, ca_name, ca_key.public_key(), x509.random_serial_number(), now, now + _VALID
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .add_extension(_key_usage(signing_certificates=True), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.DNSName("localhost"),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in sorted({"127.0.0.1", "::1", host})),
        ]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        cert = (
            x509.CertificateBuilder(ca_name, subject, key.public_key(), x509.random_serial_number(), now, now + _VALID)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .add_extension(_key_usage(signing_certificates=False), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        authority = cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        authority.bundle_path.write_bytes(ca_cert.public_bytes(serialization.Encoding.PEM))
        authority.server_cert_path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        authority.server_key_path.touch(mode=0o600)
        authority.server_key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return authority

    def server_context(self) -> ssl.SSLContext:
        """TLS settings for a listener."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_cert_path, self.server_key_path)
        return context

    def client_context(self) -> ssl.SSLContext:
        """TLS settings for a client that trusts this CA only."""
        return ssl.create_default_context(cafile=self.bundle_path)


def _key_usage(*, signing_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signing_certificates,
        crl_sign=signing_certificates,
        encipher_only=False,
        decipher_only=False,
    )
