"""Words for what a model was trained to find, and the phrases of a text for a detector.

A tuned model's class has a name and synonyms in English, French and German. Case, accents and
articles do not count, and a word that is nearly one of the long ones is taken for it.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mitosam.errors import InputError

MAX_CHARACTERS = 200
MAX_PHRASES = 16
# "mitocondria", "mitochodnria" and "mitokondrium" pass; "mitosis" and "chondrocyte" do not.
MIN_LIKENESS = 0.85
# Of shorter words, as "mitos", too many others are a letter away, as "mitose".
MIN_LETTERS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassWords:
    """What a class is called: in messages and to a detector, and what else is understood."""

    name: str
    synonyms: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Name and synonyms."""
        return (self.name, *self.synonyms)


MITOCHONDRIA = ClassWords(
    name="mitochondria",
    synonyms=(
        *("mitochondrion", "mitochondrions", "mito", "mitos"),
        *("mitochondrie", "mitochondries"),
        *("Mitochondrium", "Mitochondriums", "Mitochondrien"),
        *("chondriosome", "chondriosomes", "Chondriosom", "Chondriosomen"),
    ),
)
"""The class of every model that mitosam trains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordMatch:
    """A class that a phrase means: by one of its words, or by what is nearly one of them."""

    class_name: str
    word: str
    how: Literal["word", "spelling"]


def phrases_of(text: str) -> tuple[str, ...]:
    """The phrases of a text, which commas, semicolons, full stops or new lines part.

    >>> phrases_of("Mitochondria,  lipid droplets.")
    ('Mitochondria', 'lipid droplets')

    Raises
    ------
    InputError
        The text holds no word, or is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"words must be at most {MAX_CHARACTERS} characters, got {len(text)}; "
            "name what to find, and leave out the rest"
        )
    parts = (" ".join(part.split()) for part in re.split(r"[,;.?!|\n]", text))
    phrases = tuple(dict.fromkeys(part for part in parts if re.search(r"\w", part)))
    if not phrases:
        raise InputError(f"words must name what to find, such as mitochondria, got {text!r}")
    if len(phrases) > MAX_PHRASES:
        raise InputError(f"at most {MAX_PHRASES} things can be named at once, got {len(phrases)}")
    return phrases


def match_class(phrase: str, classes: Sequence[ClassWords]) -> WordMatch | None:
    """The class that a phrase means, or None if it means none of them.

    >>> match_class("toutes les mitochondries", [MITOCHONDRIA]).word
    'mitochondries'
    >>> match_class("mitocondria", [MITOCHONDRIA])
    WordMatch(class_name='mitochondria', word='mitochondria', how='spelling')
    """
    asked = _without_fillers(plain(phrase))
    known = {plain(word): (owner.name, word) for owner in classes for word in owner.words}
    if asked in known:
        name, word = known[asked]
        return WordMatch(class_name=name, word=word, how="word")
    long = [word for word in known if len(word) >= MIN_LETTERS]
    for near in difflib.get_close_matches(asked, long, n=1, cutoff=MIN_LIKENESS):
        name, word = known[near]
        return WordMatch(class_name=name, word=word, how="spelling")
    return None


def describe_classes(classes: Sequence[ClassWords]) -> str:
    """The words that are understood, for a message.

    >>> describe_classes([ClassWords(name="nuclei", synonyms=("noyaux",))])
    'nuclei (or noyaux)'
    """
    return "; ".join(
        f"{owner.name} (or {', '.join(owner.synonyms)})" if owner.synonyms else owner.name
        for owner in classes
    )


def plain(text: str) -> str:
    """The text without case, accents and punctuation.

    >>> plain("  L'étage ÉNERGÉTIQUE ")
    'l etage energetique'
    """
    # Twice, as Unicode's compatibility caseless match has it: styled capitals fold once unstyled.
    for _ in range(2):
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())
    bare = "".join(letter for letter in text if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[^\W_]+", bare))


def _without_fillers(text: str) -> str:
    words = [word for word in text.split() if word not in _FILLERS]
    return " ".join(words)


# Articles, quantifiers, and what one tells a machine; without accents.
_FILLERS = frozenset(
    (
        *("a", "all", "an", "any", "each", "every", "find", "instance", "instances", "of"),
        *("outline", "please", "segment", "select", "show", "the", "these"),
        *("chaque", "de", "des", "du", "l", "la", "le", "les", "montre", "segmente"),
        *("selectionne", "tous", "tout", "toute", "toutes", "trouve"),
        *("alle", "allen", "aller", "das", "dem", "den", "der", "die", "finde", "jede", "jedes"),
        *("markiere", "zeige"),
    )
)
