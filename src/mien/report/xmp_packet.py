"""An XMP packet and the place of every element in its bytes: one may change, and the rest stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from mien.core.errors import UnreadableMetadata

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_LARGEST = 1 << 24
_DEEPEST = 100

Edit = tuple[int, int, str]
"""Bytes from, bytes to, and the text that takes their place."""


@dataclass
class Node:
    """An element of the packet.

    Attributes:
        tag: namespace and name, "{...}name".
        attributes: by the same kind of name.
        start: where it begins, in bytes.
        children: its elements.
        text: its text.
        inside: where its end tag begins; None when it has none (<a/>).
        end: where it ends.
    """

    tag: str
    attributes: dict[str, str]
    start: int
    children: list[Node] = field(default_factory=list)
    text: str = ""
    inside: int | None = None
    end: int = 0

    def fields(self) -> dict[str, Node | str]:
        """Return the properties of a structure, whichever of RDF's ways it is written in."""
        found: dict[str, Node | str] = {
            name: value for name, value in self.attributes.items() if not name.startswith(f"{{{RDF}}}")
        }
        for child in self.children:
            if child.tag == f"{{{RDF}}}Description":
                found |= child.fields()
            else:
                found[child.tag] = child
        return found

    def array(self) -> Node | None:
        """Return the rdf:Bag (or Seq, or Alt) that is its value."""
        arrays = [f"{{{RDF}}}{name}" for name in ("Bag", "Seq", "Alt")]
        return next((child for child in self.children if child.tag in arrays), None)


def text_of(value: Node | str | None) -> str:
    """Return a property's text; of alternatives the first; nothing where there is none."""
    if isinstance(value, Node):
        array = value.array()
        value = (array.children[0].text if array.children else "") if array else value.text
    return (value or "").strip()


class Packet:
    """An XMP packet.

    Attributes:
        packet: its bytes.
        where: what it is of, for errors.
        rdf: its rdf:RDF.

    Raises:
        UnreadableMetadata: it is no XMP, or declares a document type.
    """

    def __init__(self, packet: bytes, where: str) -> None:
        self.packet = packet
        self.where = where
        if len(packet) > _LARGEST:
            raise UnreadableMetadata(where, f"{len(packet)} bytes of XMP, more than the limit of {_LARGEST}")
        if packet[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in packet[:4]:
            raise UnreadableMetadata(where, "is written in UTF-16 or UTF-32; XMP is UTF-8")
        self._open: list[Node] = []
        self._roots: list[Node] = []
        self._parser = parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.XmlDeclHandler = self._declaration
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(packet.rstrip(b"\0"), True)
        except expat.ExpatError as error:
            raise UnreadableMetadata(where, f"no XMP: {error}") from error
        finally:
            self._parser = None  # type: ignore[assignment]
        self.rdf = self._find_rdf()

    def _doctype(self, *_: Any) -> None:
        raise UnreadableMetadata(self.where, "declares a document type (entities?), which XMP never does")

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        if encoding and encoding.upper() not in ("UTF-8", "UTF8", "US-ASCII", "ASCII"):
            raise UnreadableMetadata(self.where, f"is written in {encoding}; XMP is UTF-8")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        named = {_qualified(name): value for name, value in attributes.items()}
        node = Node(_qualified(tag), named, self._parser.CurrentByteIndex)
        if len(self._open) > _DEEPEST:
            raise UnreadableMetadata(self.where, f"no XMP: elements nested more than {_DEEPEST} deep")
        if self._open:
            self._open[-1].children.append(node)
        else:
            self._roots.append(node)
        self._open.append(node)

    def _end(self, _: str) -> None:
        node, at = self._open.pop(), self._parser.CurrentByteIndex
        if not node.children and not node.text and self.packet[at - 2 : at] == b"/>":
            node.end = at
        else:
            node.inside, node.end = at, self.packet.index(b">", at) + 1

    def _characters(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text

    def _find_rdf(self) -> Node:
        for node in [*self._roots, *(child for root in self._roots for child in root.children)]:
            if node.tag == f"{{{RDF}}}RDF":
                return node
        raise UnreadableMetadata(self.where, "no XMP: it has no rdf:RDF")

    def property(self, name: str) -> Node | None:
        """Return the element of a property of the picture."""
        for description in self.rdf.children:
            for child in description.children:
                if child.tag == name:
                    return child
        return None

    def insertion(self, properties: Sequence[str]) -> Edit:
        """Return the edit that adds properties in a description of their own."""
        about = (node.attributes.get(f"{{{RDF}}}about", "") for node in self.rdf.children)
        block = _described(properties, next(about, ""))
        if self.rdf.inside is None:
            return self.rdf.start, self.rdf.end, f'<rdf:RDF xmlns:rdf="{RDF}">{block}</rdf:RDF>'
        return self.rdf.inside, self.rdf.inside, block

    def edited(self, edits: Sequence[Edit]) -> bytes:
        """Return the packet with parts of it replaced."""
        packet = self.packet
        for start, end, text in sorted(edits, reverse=True):
            packet = packet[:start] + text.encode() + packet[end:]
        return packet


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name


def _described(properties: Sequence[str], about: str) -> str:
    text = "".join(properties)
    return f'\n  <rdf:Description xmlns:rdf="{RDF}" rdf:about={_quoted(about)}>{text}\n  </rdf:Description>\n'


def new_packet(properties: Sequence[str]) -> bytes:
    """Return a packet of these properties."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="mien">\n'
        f' <rdf:RDF xmlns:rdf="{RDF}">{_described(properties, "")} </rdf:RDF>\n'
        '</x:xmpmeta>\n<?xpacket end="w"?>\n'
    ).encode()


def _quoted(text: str) -> str:
    return '"' + escaped(text).replace('"', "&quot;") + '"'


def escaped(text: str) -> str:
    """Return text as XML writes it; what XML has no way to write is left out."""
    kept = "".join(
        c
        for c in text
        if c in "\t\n\r" or (c >= " " and not 0xD800 <= ord(c) < 0xE000 and c not in "\ufffe\uffff")
    )
    return escape(kept, {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})
