"""seedling's tokenizer and captions."""

import pytest

from seedml.captions import HELD_OUT_TEMPLATES, TEMPLATES, Caption, all_captions, parse_caption, phrase, scene_prompts
from seedml.models.bundled.words import LENGTH, build_tokenizer, vocabulary


def test_every_word_is_one_token():
    tokenizer = build_tokenizer()
    for word in vocabulary():
        assert len(tokenizer(word).input_ids) == 3, word


def test_the_tokenizer_is_the_same_every_time_and_after_saving(tmp_path):
    texts = [*scene_prompts(), "an aardvark, ünïcode & more"]
    first, second = build_tokenizer(), build_tokenizer()
    first.save_pretrained(tmp_path)
    third = type(first).from_pretrained(tmp_path)
    assert first(texts).input_ids == second(texts).input_ids == third(texts).input_ids


@pytest.mark.parametrize("template", [*TEMPLATES, *HELD_OUT_TEMPLATES])
def test_phrasings_fit_and_can_be_read_back(template):
    tokenizer = build_tokenizer()
    for caption in all_captions()[::7]:
        text = phrase(caption, template)
        assert len(tokenizer(text).input_ids) <= LENGTH
        assert parse_caption(text) == caption


def test_held_out_phrasings_are_not_training_phrasings():
    trained = {phrase(c, t) for c in all_captions() for t in TEMPLATES}
    held_out = {phrase(c, t) for c in all_captions() for t in HELD_OUT_TEMPLATES}
    assert not trained & held_out
    known = {word for text in trained for word in text.replace(",", " ").split()}
    assert {word for text in held_out for word in text.replace(",", " ").split()} <= known


@pytest.mark.parametrize("text", ["", "a red ball", "a red blue ball on sand", "a dog on grass"])
def test_other_texts_are_not_captions(text):
    assert parse_caption(text) is None


def test_prompts_are_distinct_and_every_prefix_is_mixed():
    prompts = scene_prompts()
    assert len(set(prompts)) == 600
    grounds = {parse_caption(text).ground for text in prompts[:40]}
    assert len(grounds) == 6
    assert parse_caption("an orange mug on wood") == Caption(9, 6, 5)
