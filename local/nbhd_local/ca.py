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
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=30)
_CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Authority:
    """A CA and one server certificate for loopback and one host more, as PEM files in one folder."""

    bundle_path: Path
    server_cert_path: Path
    server_key_path: Path

    @classmethod
    def create(cls, folder: Path, host: str = "127.0.0.1", ca: tuple[Path, Path] | None = None) -> Authority:
        """Makes a server certificate for ``host`` in ``folder``, and a new CA unless ``ca`` is its certificate and key.

        Private keys are readable by the owner only; a new CA's own is never stored.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca_cert, ca_key = _given(*ca) if ca else _new()
        now = datetime.datetime.now(datetime.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_name(one) for one in sorted({"localhost", "127.0.0.1", "::1", host})]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        cert = (
            x509.CertificateBuilder(
                ca_cert.subject, subject, key.public_key(), x509.random_serial_number(), now, now + _VALID
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_issuer(ca_cert), critical=False)
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


def _new() -> tuple[x509.Certificate, _CaKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nbhd local CA")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_key_usage(signing_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _given(certificate: Path, key: Path) -> tuple[x509.Certificate, _CaKey]:
    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError(f"{key}: a CA's key is RSA or elliptic-curve here")
    return x509.load_pem_x509_certificate(certificate.read_bytes()), private


def _issuer(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As the CA calls its key: what that is made with differs, and a verifier compares it."""
    known = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


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
