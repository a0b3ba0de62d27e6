"""Reads a request body that may be too large or a decompression bomb."""

from __future__ import annotations

import zlib

from fastapi import Request

from evenkeel.domain.errors import BatchInvalid, BatchTooLarge

_GZIP = 31  # zlib's word for "gzip header, largest window"


async def read_body(request: Request, limit: int) -> bytes:
    """The body, decompressed, at most `limit` bytes of it at any moment.

    Raises BatchTooLarge as soon as it is more, declared or not; BatchInvalid when it does not
    decompress or is encoded in another way than gzip.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise BatchInvalid(f"Content-Encoding {encoding[:40]!r} is neither gzip nor identity")
    inflate = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    body = bytearray()
    n_read = 0
    async for chunk in request.stream():
        n_read += len(chunk)
        if inflate is None:
            body += chunk
        else:
            body += _inflated(inflate, chunk, limit - len(body) + 1)
        if max(len(body), n_read) > limit:
            raise _too_large(limit)
    if inflate is not None and not inflate.eof:
        raise BatchInvalid("the gzip stream ends too early")
    return bytes(body)


def _inflated(inflate: zlib._Decompress, chunk: bytes, most: int) -> bytes:
    try:
        return inflate.decompress(chunk, most)
    except zlib.error as error:
        raise BatchInvalid(f"the gzip stream is broken: {error}") from error


def _too_large(limit: int) -> BatchTooLarge:
    return BatchTooLarge(
        f"the body is larger than {limit} bytes", hint="See controller.max_body_mib."
    )
