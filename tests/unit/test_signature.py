"""The request signature against known values, and the generated gRPC code against its proto."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from broker_events.ingest.sources import generate
from broker_events.ingest.sources.event_push_pb2 import SubscribeEvent, SubscribeRequest
from broker_events.ingest.sources.signature import SignatureAlgorithm, sign, signed_metadata

SECRET = "s-secret"  # noqa: S105  of the published vector
REQUEST = bytes.fromhex(
    "0a1b0a074143434f554e541210434a4f316678414347414167414441420a090a0746554e44494e47"
    "1214323032352d30312d30315430303a30303a30305a"
)


def _sign(algorithm: SignatureAlgorithm, request: bytes = REQUEST, secret: str = SECRET) -> str:
    return sign(
        request,
        app_key="k-app",
        app_secret=secret,
        algorithm=algorithm,
        nonce="nonce-1",
        timestamp="2025-01-01T00:00:00Z",
    )


def test_the_request_serialises_to_the_bytes_of_the_vector() -> None:
    request = SubscribeRequest(
        events=[SubscribeEvent(eventType="ACCOUNT", position="CJO1fxACGAAgADAB"), SubscribeEvent(eventType="FUNDING")],
        timestamp="2025-01-01T00:00:00Z",
    )
    assert request.SerializeToString() == REQUEST


def test_hmac_sha1_gives_the_value_of_the_brokers_sdk() -> None:
    assert _sign(SignatureAlgorithm.HMAC_SHA1) == "xsFQTkw0huX5AHctj51Z4nD++vU="


def test_hmac_sha256_differs_only_in_digests_and_algorithm_name() -> None:
    """The sign string written out by hand, so that a change of any part of it shows."""
    text = (
        "x-app-key%3Dk-app%3Dx-signature-algorithm%3DHMAC-SHA256%3Dx-signature-nonce%3Dnonce-1"
        "%3Dx-signature-version%3D1.0%3Dx-timestamp%3D2025-01-01T00%3A00%3A00Z%26" + hashlib.sha256(REQUEST).hexdigest()
    )
    expected = base64.b64encode(hmac.new(b"s-secret&", text.encode(), hashlib.sha256).digest()).decode()
    assert _sign(SignatureAlgorithm.HMAC_SHA256) == expected


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
def test_request_and_secret_are_signed(algorithm: SignatureAlgorithm) -> None:
    assert _sign(algorithm) != _sign(algorithm, request=REQUEST + b"\x00")
    assert _sign(algorithm) != _sign(algorithm, secret=f"{SECRET}2")


def test_metadata_carries_what_was_signed_and_never_the_secret() -> None:
    metadata = dict(
        signed_metadata(
            REQUEST,
            app_key="k-app",
            app_secret=SECRET,
            algorithm=SignatureAlgorithm.HMAC_SHA1,
            nonce="nonce-1",
            timestamp="2025-01-01T00:00:00Z",
        )
    )
    assert metadata == {
        "x-app-key": "k-app",
        "x-signature-algorithm": "HMAC-SHA1",
        "x-signature-version": "1.0",
        "x-signature-nonce": "nonce-1",
        "x-timestamp": "2025-01-01T00:00:00Z",
        "x-signature": "xsFQTkw0huX5AHctj51Z4nD++vU=",
    }


def test_the_generated_code_is_what_the_proto_gives(tmp_path: Path) -> None:
    generate.generate(tmp_path)
    for path in generate.OUTPUTS:
        assert (generate.ROOT / path).read_bytes() == (tmp_path / path).read_bytes()
