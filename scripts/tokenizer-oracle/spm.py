"""Reads the files of SentencePiece, as far as tokenizers need them."""

import struct


def fields(data):
    """The fields of a message of protocol buffers, in order: number and value."""
    at = 0

    def varint():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at, n, shift = at + 1, n | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return n

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        elif key & 7 == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        elif key & 7 == 2:
            size = varint()
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"field of wire type {key & 7}")
        yield key >> 3, value


class Model:
    """A model: its pieces with their scores, the id of the unknown one, and the charsmap of its normalizer."""

    def __init__(self, path):
        self.pieces, self.unk, self.charsmap = [], None, b""
        for number, value in fields(path.read_bytes()):
            if number == 1:
                piece = dict(fields(value))
                if piece.get(3) == 2:
                    self.unk = len(self.pieces)
                self.pieces.append((piece[1].decode(), piece.get(2, 0.0)))
            elif number == 3:
                self.charsmap = dict(fields(value))[2]

    def merges(self):
        """The vocabulary of a model of BPE, and its merges in the order that transformers reckons."""
        vocab = {piece: i for i, (piece, _) in enumerate(self.pieces)}
        found = []
        for piece, score in self.pieces:
            halves = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
            found += [(left, right, score) for left, right in sorted(halves, key=lambda h: (vocab[h[0]], vocab[h[1]]))]
        found.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
        return vocab, [(left, right) for left, right, _ in found]
