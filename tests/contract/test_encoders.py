"""Every encoder of ours, through the public contract."""

from __future__ import annotations

import pytest

from datumaro_embed.encoders import ClipEncoder, Encoder, FakeEncoder
from datumaro_embed.testing import EncoderContract


class TestFakeEncoder(EncoderContract):
    def make(self, batch_size: int) -> Encoder:
        return FakeEncoder(batch_size=batch_size)


class TestClipEncoder(EncoderContract):
    def make(self, batch_size: int) -> Encoder:
        return ClipEncoder.load("demo", batch_size=batch_size)


class TestClipEncoderInBfloat16(EncoderContract):
    def make(self, batch_size: int) -> Encoder:
        encoder = ClipEncoder.load("demo", batch_size=batch_size, precision="bf16")
        if encoder.provenance()["precision"] != "bf16":
            pytest.skip("this processor has no bfloat16")
        return encoder
