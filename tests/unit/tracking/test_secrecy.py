"""What is struck out of all that is written, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedml.tracking.secrecy import secrets_in, strike


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("https://hf_abcdefghijkl@huggingface.co/x", "https://(secret)@huggingface.co/x"),
        ("s3://user:p@ss1234@host/x", "s3://user:(secret)@host/x"),
        ("s3://user:pa/ss@host/x", "s3://user:(secret)@host/x"),
        ("https://u:pa?s#s@h", "https://u:(secret)@h"),
        ("https://ghp_0123456789abcdefghij:x-oauth-basic@github.com", "https://(secret)@github.com"),
        ("https://u:one@h,https://v:two@g and http://w:3@i", "https://u:(secret)@h,https://v:(secret)@g and "
         "http://w:(secret)@i"),
        ("https://h/a.tar?sv=2&sig=ab%2Bcd%3D&se=3", "https://h/a.tar?sv=2&sig=(secret)&se=3"),
        ("https://h/a?X-Amz-Date=1&X-Amz-Signature=0a1b", "https://h/a?X-Amz-Date=1&X-Amz-Signature=(secret)"),
        ("https://h/a?X-Amz-Security-Token=0a1b#top", "https://h/a?X-Amz-Security-Token=(secret)#top"),
        ("https://h/a?api_key=1&access_token=2&apikey=3", "https://h/a?api_key=(secret)&access_token=(secret)"
         "&apikey=(secret)"),
    ],
)  # fmt: skip
def test_secrets_in_addresses_are_struck(told: str, expected: str) -> None:
    assert strike(told, ()) == expected
    assert strike(expected, ()) == expected


@pytest.mark.parametrize(
    "told",
    [
        "https://host:8080/models@v1/x", "https://cdn.example.org/npm/x@1.2/y", "a@b.c", "http://localhost:8080",
        '{"url":"http://localhost:8080","mail":"a@b.c"}', "https://h/a?monkey=1&step=2&token_count=3", "u:p@h",
        "https://h?mail=a@b.c",
    ],
)  # fmt: skip
def test_addresses_without_secrets_stay(told: str) -> None:
    assert strike(told, ()) == told


def test_names_of_variables_are_matched_by_their_parts() -> None:
    struck = (
        "TOKEN", "HF_TOKEN", "HFTOKEN", "hf_token", "WANDB_API_KEY", "APIKEY", "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID", "PGPASSWORD", "MY_PASSWORDS", "TOKEN2", "GOOGLE-CREDENTIALS", "KEY_1",
    )  # fmt: skip
    kept = ("TOKENIZER_DIR", "TOKENIZERS_PARALLELISM", "KEYBOARD", "MONKEY", "SECRETARY", "KEYMAP", "HOME")
    environ = {name: f"value of {name}" for name in (*struck, *kept)}
    assert set(secrets_in(environ)) == {environ[name] for name in struck}


def test_paths_that_exist_are_no_secrets(tmp_path: Path) -> None:
    environ = {"TOKEN_FILE": str(tmp_path), "TOKEN": "/not/there/at/all", "KEY": "x" * 5000, "MY_KEY": "/" + "x" * 5000}
    assert set(secrets_in(environ)) == set(environ.values()) - {str(tmp_path)}
    assert strike(str(tmp_path / "x.png"), secrets_in(environ)) == str(tmp_path / "x.png")
