"""The host from which Keras downloads weights, on loopback: behind a proxy, with a certificate of its own."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = "storage.googleapis.com"


def write_certificate(file: Path) -> None:
    """Write a key and a certificate for it, which vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(encoding))


@contextmanager
def serving_keras(folder: Path, content: bytes | None, missing: int = 0) -> Iterator[dict[str, str]]:
    """Answer each request with `content`, of which the last `missing` bytes never come; or, if None, not at all.

    Yields the environment variables with which downloads come here.
    """
    certificate, over = folder / "host.pem", Event()
    write_certificate(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Proxy(StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():  # CONNECT and its headers
                pass
            self.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with suppress(OSError), context.wrap_socket(self.connection, server_side=True) as client:
                client.recv(65536)
                if content is None:
                    over.wait()
                    return
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
                client.sendall(content[: len(content) - missing])

    with ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield {
            "https_proxy": f"http://127.0.0.1:{server.server_address[1]}",
            "SSL_CERT_FILE": str(certificate),
        }
        over.set()
        server.shutdown()
        thread.join()
