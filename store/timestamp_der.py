"""Puts the certificates of a TimeStampResp (RFC 3161) into the order that DER wants.

They are a SET, which DER sorts by its elements' bytes (X.690, section 11.6). openssl's authority,
and others, put their own first; our reader of these answers takes nothing but DER. The order is
not under the signature, so that to sort them changes nothing that is checked.
"""

from __future__ import annotations

from collections.abc import Iterator

_SEQUENCE, _CONTEXT_0 = 0x30, 0xA0


def sorted_certificates(data: bytes) -> bytes:
    """``data`` as it is, but for that order; where it is of another form, all of it."""
    try:
        begin, end = _certificates(data)
        found = sorted(data[at:after] for _, at, after in _elements(data, begin, end))
    except (ValueError, IndexError):
        return data
    return data[:begin] + b"".join(found) + data[end:]


def _certificates(data: bytes) -> tuple[int, int]:
    """Where the elements are (RFC 5652, section 5.1). Raises `ValueError` if there are none."""
    place = 0, len(data)
    # TimeStampResp, its token (ContentInfo), what is in it, SignedData, its certificates.
    for tag, nth in (
        (_SEQUENCE, 0),
        (_SEQUENCE, 1),
        (_CONTEXT_0, 1),
        (_SEQUENCE, 0),
        (_CONTEXT_0, 3),
    ):
        found, at, _ = list(_elements(data, *place))[nth]
        if found != tag:
            raise ValueError("of another form")
        place = _content(data, at)
    return place


def _elements(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Tag, where it begins and where it ends, of each."""
    while begin < end:
        _, after = _content(data, begin)
        if after > end:
            raise ValueError("cut off")
        yield data[begin], begin, after
        begin = after


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at ``at`` begins and ends."""
    length, begin = data[at + 1], at + 2
    if length >= 0x80:  # so many bytes of length follow
        count = length - 0x80
        if not 0 < count <= 4:
            raise ValueError("no length in DER")
        length, begin = int.from_bytes(data[begin : begin + count], "big"), begin + count
    return begin, begin + length
