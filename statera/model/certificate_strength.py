"""What keeps a certificate that can be read from being served: OpenSSL refuses weak ones when HAProxy loads them.

That is at security level 2, which Debian sets: 112 bits of security (SSL_CTX_set_security_level(3)).
"""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID

from statera.model.certificates import LEAST_RSA_BITS, BadCertificate, Bundle, read_parts
from statera.model.secrets import SecretParts

LEAST_EC_BITS = 224
LEAST_DIGEST_BYTES = 28


def check_chain(found: SecretParts, bundle: Bundle, field: str) -> None:
    """Refuse (INVALID) certificates of authorities that are not the certificate's: clients could not verify it."""
    leaf = x509.load_pem_x509_certificates(bundle.content.reveal())[0]
    others = [one for one in read_parts(found, field)[0] if one != leaf]
    if others and leaf.issuer != leaf.subject and all(one.subject != leaf.issuer for one in others):
        issuer = leaf.issuer.rfc4514_string()
        raise BadCertificate(
            f"Validation failure: {field}: the certificate is issued by {issuer}, and no certificate beside it is that "
            "one's."
        )


def check_strength(bundle: Bundle, field: str) -> None:
    """Refuse (INVALID) a certificate that HAProxy would not load, or one of whose chain."""
    for one in x509.load_pem_x509_certificates(bundle.content.reveal()):
        weakness = _find_weakness(one)
        if weakness:
            name = one.subject.rfc4514_string()
            raise BadCertificate(f"Validation failure: {field}: the certificate of {name} {weakness}.")


def _find_weakness(one: x509.Certificate) -> str:
    if one.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        return "is for keys of RSA-PSS only, which cannot be served; use RSA or ECDSA"
    try:
        key, digest = one.public_key(), one.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        # HAProxy has the last word.
        return ""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        return f"has an RSA key of {key.key_size} bits; {LEAST_RSA_BITS} are the least"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < LEAST_EC_BITS:
        return f"has an ECDSA key of {key.key_size} bits; {LEAST_EC_BITS} are the least"
    if one.issuer == one.subject or digest is None:
        # Nobody relies on what one says of oneself; None is of keys that sign without a digest.
        return ""
    if digest.digest_size < LEAST_DIGEST_BYTES:
        return f"is signed with {digest.name.upper()}, which is too weak to be served; have it signed with SHA-256"
    return ""
