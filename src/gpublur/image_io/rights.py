"""What EXIF says of a picture's rights, alone: its copyright and the comment of its user."""

from __future__ import annotations

import struct
from xml.sax.saxutils import escape

from . import exif

COPYRIGHT, USER_COMMENT = 0x8298, 0x9286
CHARSETS = {
    b"ASCII\0\0\0": "ascii",
    b"JIS\0\0\0\0\0": "iso2022_jp",
}  # of a user's comment; UNICODE has the block's order
UNICODE = b"UNICODE\0"
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/">{said}</rdf:Description>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
ALTERNATIVES = '<{name}><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></{name}>'


def subset(block: bytes | None) -> bytes | None:
    """Return an EXIF block of the copyright and the user's comment; None where neither is said."""
    order, kept = _kept(block)
    if order is None or not kept:
        return None
    mark = next(mark for mark, known in exif.ORDERS.items() if known == order)
    return exif.PREFIX + mark + struct.pack(f"{order}I", 8) + exif.write_tags(kept, order, 8)


def as_xmp(block: bytes | None) -> bytes | None:
    """Return an XMP packet that says what `subset` keeps; None where that is nothing."""
    order, kept = _kept(block)
    if order is None:
        return None
    inner = kept.get(exif.EXIF_IFD)
    comment = inner.get(USER_COMMENT) if isinstance(inner, dict) else None
    texts = {"dc:rights": kept.get(COPYRIGHT), "exif:UserComment": comment}
    said = "".join(
        ALTERNATIVES.format(name=name, text=escape(text))
        for name, value in texts.items()
        if isinstance(value, tuple) and (text := _text(value[2], order))
    )
    return PACKET.format(said=said).encode() if said else None


def _kept(block: bytes | None) -> tuple[exif.Order | None, exif.Tags]:
    """Return a block's order of bytes, if it is one, and those of its tags that say something of rights."""
    order = exif.byte_order((block or b"").removeprefix(exif.PREFIX))
    if block is None or order is None:
        return None, {}
    tags = exif.tags_of(block, order)
    kept: exif.Tags = {COPYRIGHT: tags[COPYRIGHT]} if COPYRIGHT in tags else {}
    inner = tags.get(exif.EXIF_IFD)
    if isinstance(inner, dict) and USER_COMMENT in inner:
        kept[exif.EXIF_IFD] = {USER_COMMENT: inner[USER_COMMENT]}
    return order, kept


def _text(data: bytes, order: exif.Order) -> str:
    """Return the text of a value, without what XML cannot hold."""
    code, rest = data[:8], data[8:]
    charset = ("utf_16_le" if order == "<" else "utf_16_be") if code == UNICODE else CHARSETS.get(code)
    if charset is None:
        charset, rest = "utf-8", rest if code == bytes(8) else data
    text = rest.decode(charset, "replace")
    return "".join(c for c in text if c.isprintable() or c in "\t\n").strip()
