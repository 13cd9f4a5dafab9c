"""seedling's tokenizer: CLIP's byte-level BPE, learned on the words of the captions.

Every word of seedling's world is one token; any other text still has tokens, byte by byte.
"""

from __future__ import annotations

import json

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from seedml.captions import COLOURS, GROUNDS, HELD_OUT_TEMPLATES, OBJECTS, TEMPLATES

LENGTH = 24
"""Tokens a prompt may have, start and end included."""


def vocabulary() -> list[str]:
    """Words that become one token each, sorted. Words only, not phrasings, are shared with the held-out phrasings."""
    texts = " ".join([*TEMPLATES, *HELD_OUT_TEMPLATES]).replace(",", " , ")
    words = {word for word in texts.split() if "{" not in word}
    return sorted(words | {"an", "photograph", "image", "drawing", "."} | {*OBJECTS, *COLOURS, *GROUNDS})


def build_tokenizer() -> CLIPTokenizer:
    """The tokenizer, made anew; the same every time."""
    trainer = trainers.BpeTrainer(
        vocab_size=4096, min_frequency=1, end_of_word_suffix="</w>", show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    bpe.train_from_iterator(vocabulary(), trainer)
    state = json.loads(bpe.to_str())["model"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(pair) for pair in state["merges"]]
    symbols = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    vocab = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)
