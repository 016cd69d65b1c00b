"""What keeps a backend from taking spans, in one sentence for what is wrong and one for what to do."""

from __future__ import annotations

from typing import Final, NamedTuple

from otel_llm.contracts import CheckStatus, Finding, Rejected, Retry

__all__ = ["Refusal", "Trouble", "tls_remedy"]


class Trouble(NamedTuple):
    """Something in the way of a batch that says nothing against the batch: it is kept and sent again."""

    what: str
    """A full sentence: what failed and why most likely."""
    remedy: str
    """A full sentence: what to do."""
    reason: str = "unavailable"
    after: float | None = None
    needs_action: bool = False

    def outcome(self) -> Retry:
        """The answer of `Backend.send`."""
        return Retry(f"{self.what} {self.remedy}", self.reason, self.after, self.needs_action)

    def finding(self, check: str) -> Finding:
        """The answer of `Backend.check`."""
        return Finding(check, CheckStatus.FAILED, self.what, self.remedy)


class Refusal(NamedTuple):
    """The backend has read the batch and will never take it."""

    what: str
    reason: str = "invalid"

    def outcome(self) -> Rejected:
        """The answer of `Backend.send`."""
        return Rejected(self.what, self.reason)

    def finding(self, check: str) -> Finding:
        """The answer of `Backend.check`."""
        remedy = "Look at the server's log: it refuses even an empty request, so this is not about single spans."
        return Finding(check, CheckStatus.FAILED, self.what, remedy)


_OURS: Final = ("alert certificate", "alert bad certificate", "alert unknown ca", "tsi_data_corrupted")
"""Words that come when the server refuses us for want of a certificate that it trusts (the last ones are gRPC's)."""
_TLS: Final = (
    (("cannot be used", "security handshaker"), "Name a certificate in PEM form; one of ours needs its own key."),
    (("expired", "not yet valid"), "Renew the server's certificate, and look whether this machine's clock is right."),
    (
        ("not valid for", "hostname mismatch", "hostname verification"),
        "Its certificate is for another host: use the name that is in it in {address}.",
    ),
    (("unable to get", "self-signed", "self signed"), "If a private CA signed it, name the CA's file in {ca}."),
    (("cannot be read",), "Correct the path, or make the file readable."),
    (
        ("wrong_version_number", "record_layer", "packet_length", "http_request"),
        "It does not speak TLS: if it speaks plain HTTP, begin {address} with http://.",
    ),
    (
        ("protocol_version", "unsupported_protocol", "no_protocols"),
        "It speaks no TLS that is safe today: have it offer TLS 1.2 or 1.3.",
    ),
)
"""Words of OpenSSL's, and what to do when they come."""


def tls_remedy(words: str, *, ca: str, address: str, client: str = "") -> str:
    """What to do about a TLS connection that failed with these words; never to check less.

    `ca`, `address` and `client` are the variables that name a CA file, the server, and a certificate of our own.
    """
    said = words.lower()
    if any(sign in said for sign in _OURS):
        ours = f"{client} names it" if client else "send to a Collector, whose exporter can have one (`tls: cert_file`)"
        return f"It wants a certificate of ours that it trusts and that has not expired: {ours}."
    for signs, remedy in _TLS:
        if any(sign in said for sign in signs):
            return remedy.format(ca=ca, address=address)
    if client:
        return (
            f"It hung up: it may want a certificate of ours, which {client} names; a private CA's file goes into {ca}."
        )
    return (
        f"If a private CA signed it, name the CA's file in {ca}; if it speaks plain HTTP, begin {address} with http://."
    )
