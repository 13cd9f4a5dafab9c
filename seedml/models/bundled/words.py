"""seedling's tokenizer: CLIP's byte-level BPE, learned on the words of the captions.

Every word of seedling's world is one token; any other text still has tokens, byte by byte.
"""

from __future__ import annotations

import itertools
from collections import Counter

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from seedml.captions import COLOURS, GROUNDS, HELD_OUT_TEMPLATES, OBJECTS, TEMPLATES

LENGTH = 24
"""Tokens a prompt may have, start and end included."""
END = "</w>"

Pair = tuple[str, str]


def vocabulary() -> list[str]:
    """Words that become one token each, sorted. Words only, not phrasings, are shared with the held-out phrasings."""
    texts = " ".join([*TEMPLATES, *HELD_OUT_TEMPLATES]).replace(",", " , ")
    words = {word for word in texts.split() if "{" not in word}
    return sorted(words | {"an", "photograph", "image", "drawing", "."} | {*OBJECTS, *COLOURS, *GROUNDS})


def learn_merges(words: list[str]) -> list[Pair]:
    """Byte-pair merges that turn each word into one token, the most frequent pair first (Sennrich et al. 2016).

    Ties are broken by spelling: the trainer of ``tokenizers`` breaks them by hash, another way every time.
    """
    pieces = [[*word[:-1], word[-1] + END] for word in words]
    merges: list[Pair] = []
    while pairs := Counter(pair for piece in pieces for pair in itertools.pairwise(piece)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merged(piece, best) for piece in pieces]
    return merges


def _merged(piece: list[str], pair: Pair) -> list[str]:
    merged: list[str] = []
    for symbol in piece:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def build_tokenizer() -> CLIPTokenizer:
    """The tokenizer, made anew; the same every time."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learn_merges(vocabulary())
    symbols = [*alphabet, *(letter + END for letter in alphabet), *("".join(pair) for pair in merges)]
    vocab = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)
