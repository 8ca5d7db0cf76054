from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.errors import InputError
from mitosam.words import (
    MAX_CHARACTERS,
    MITOCHONDRIA,
    ClassWords,
    describe_classes,
    match_class,
    phrases_of,
    plain,
)

CLASSES = (MITOCHONDRIA, ClassWords(name="nuclei", synonyms=("noyaux", "Zellkerne")))


@pytest.mark.parametrize(
    "text",
    [
        *("mitochondries", "mitochondrie", "Mitochondrium", "mitos", "mito", "MITOCHONDRIA"),
        *("all mitochondria", "les mitochondries", "toutes les mitochondries"),
        *("alle Mitochondrien", "Segment every mitochondrion, please", "l'mitochondrie"),
        *("  mitochóndria ", "mito\N{COMBINING ACUTE ACCENT}chondria"),
    ],
)
def test_names_in_three_languages_mean_the_class_by_a_word(text):
    matches = [match_class(phrase, CLASSES) for phrase in phrases_of(text.replace(",", ""))]
    assert [(match.class_name, match.how) for match in matches] == [("mitochondria", "word")]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("mitocondria", "mitochondria"),
        ("mitochodnria", "mitochondria"),
        ("mitokondrium", "Mitochondrium"),
        ("mitochondrial", "mitochondria"),
    ],
)
def test_a_long_word_that_is_nearly_one_is_taken_for_it_and_says_so(text, word):
    match = match_class(text, CLASSES)
    assert (match.class_name, match.word, match.how) == ("mitochondria", word, "spelling")


@pytest.mark.parametrize(
    "text",
    [
        *("mitosis", "mitose", "mitoss", "chondrocyte", "chromosomes", "the", "all"),
        *("mitochondrial matrix", "cristae of mitochondria that touch the nucleus"),
    ],
)
def test_other_words_mean_no_class(text):
    assert match_class(text, CLASSES) is None


def test_each_class_has_its_own_words():
    assert match_class("die Zellkerne", CLASSES).class_name == "nuclei"
    assert "nuclei (or noyaux, Zellkerne)" in describe_classes(CLASSES)


@given(st.sampled_from(MITOCHONDRIA.words), st.data())
def test_case_and_spaces_around_do_not_matter(word, data):
    cased = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in word)
    spaces = data.draw(st.text(" \t", max_size=3))
    match = match_class(spaces + cased + spaces, [MITOCHONDRIA])
    assert (match.word, match.how) == (word, "word")


@given(st.text(max_size=60))
def test_any_text_is_either_matched_or_not_and_always_alike(text):
    assert match_class(text, CLASSES) == match_class(text, CLASSES)
    assert plain(plain(text)) == plain(text)


@given(st.text(max_size=MAX_CHARACTERS))
def test_any_short_text_has_phrases_or_is_refused_in_one_line(text):
    with contextlib.suppress(InputError):
        phrases = phrases_of(text)
        assert phrases
        assert all(phrase == " ".join(phrase.split()) != "" for phrase in phrases)
        return
    with pytest.raises(InputError, match=r"\A[^\n]+\Z"):
        phrases_of(text)


def test_phrases_are_parted_by_punctuation_and_named_once():
    assert phrases_of("a nucleus; mitochondria,a nucleus.\nLipid") == (
        *("a nucleus", "mitochondria"),
        "Lipid",
    )


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "...", ", ;", "!?"])
def test_a_text_without_a_word_is_refused(text):
    with pytest.raises(InputError, match="must name what to find, such as mitochondria"):
        phrases_of(text)


def test_a_very_long_text_is_refused_without_being_repeated():
    with pytest.raises(InputError, match="at most 200 characters, got 100000") as caught:
        phrases_of("mito " * 20_000)
    assert len(str(caught.value)) < 150


def test_too_many_phrases_are_refused():
    with pytest.raises(InputError, match="at most 16 things can be named at once, got 17"):
        phrases_of(",".join(f"thing {number}" for number in range(17)))
