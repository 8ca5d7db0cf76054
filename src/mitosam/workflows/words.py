"""What words mean here: all instances of a model's class, or whatever a detector finds.

One way for `predict --text` and for an interactive session. `understand` needs no image and is
quick; `look` asks the detector of one section; `answer` does both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from mitosam.errors import InputError, ModelError
from mitosam.models.detections import Detections, TextDetector
from mitosam.prompts import Prompts
from mitosam.words import (
    MITOCHONDRIA,
    ClassWords,
    WordMatch,
    describe_classes,
    match_class,
    phrases_of,
)
from mitosam.workflows.automatic import Method, Segmenter

OWN_CLASSES: tuple[ClassWords, ...] = (MITOCHONDRIA,)
"""What tuned models find; mitosam trains them on one class."""
_GUIDE = "see docs/words.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllInstances:
    """Every instance of a class, which the automatic method `method` finds.

    `sentence` says what was understood, to a user.
    """

    match: WordMatch
    method: Method
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorPhrases:
    """Phrases for the detector; `sentence` says what was understood, to a user."""

    phrases: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedObjects:
    """What the detector found on one section, and that in a sentence."""

    detections: Detections
    sentence: str

    @property
    def prompts(self) -> Prompts | None:
        """A box prompt for each object; None if nothing was found."""
        found = self.detections
        return Prompts(boxes_xyxy=found.boxes_xyxy) if len(found) else None


def answer(
    text: str,
    section: UInt8[np.ndarray, "height width"],
    *,
    segmenter: Segmenter | None = None,
    detector: TextDetector | None = None,
    min_score: float | None = None,
) -> AllInstances | DetectedObjects:
    """What `text` means on a section of 0 to 255, in one step; see `understand`."""
    meaning = understand(text, segmenter=segmenter, detector=detector)
    if isinstance(meaning, AllInstances):
        return meaning
    assert detector is not None, "only a detector makes phrases of words"
    return look(meaning, section, detector, min_score=min_score)


def understand(
    text: str, *, segmenter: Segmenter | None = None, detector: TextDetector | None = None
) -> AllInstances | DetectorPhrases:
    """All instances, if each phrase is a word of the segmenter's class; else the detector's.

    A segmenter without a head has no words of its own. What is said to the detector for a known
    word is the English one, as detectors learnt from English captions.

    Raises
    ------
    InputError
        The text is empty or too long, or nothing here understands it.
    ModelError
        The word is known, but the model cannot find its instances, and there is no detector.
    """
    phrases = phrases_of(text)
    matches = [match_class(phrase, OWN_CLASSES) for phrase in phrases]
    known = [match for match in matches if match is not None]
    has_words = segmenter is not None and segmenter.head is not None
    if has_words and len(known) == len(phrases):
        assert segmenter is not None
        return _all_instances(phrases[0], known[0], segmenter.choose("auto"))
    if detector is not None:
        return _for_detector(phrases, matches, detector)
    unknown = [phrase for phrase, match in zip(phrases, matches, strict=True) if match is None]
    if unknown:
        raise _not_understood(unknown[0], has_words=has_words)
    raise _without_head(known[0], segmenter)


def look(
    meaning: DetectorPhrases,
    section: UInt8[np.ndarray, "height width"],
    detector: TextDetector,
    *,
    min_score: float | None = None,
) -> DetectedObjects:
    """What the detector finds of the phrases on a section of 0 to 255."""
    found = detector.detect(section, meaning.phrases, min_score=min_score)
    counts = ", ".join(f"{found.phrases.count(one)} of {one!r}" for one in meaning.phrases)
    least = detector.default_min_score if min_score is None else min_score
    return DetectedObjects(
        detections=found,
        sentence=f"{detector.name} found {counts}, with a score above {least:g}",
    )


def _all_instances(phrase: str, match: WordMatch, method: Method) -> AllInstances:
    sentence = f"all {match.class_name}, found by method {method}"
    if match.how == "spelling":
        sentence = f"{phrase!r} was taken for {match.word!r}: {sentence}"
    return AllInstances(match=match, method=method, sentence=sentence)


def _for_detector(
    phrases: Sequence[str], matches: Sequence[WordMatch | None], detector: TextDetector
) -> DetectorPhrases:
    said = [
        match.class_name if match else phrase
        for phrase, match in zip(phrases, matches, strict=True)
    ]
    unique = tuple(dict.fromkeys(said))
    asked = ", ".join(repr(phrase) for phrase in unique)
    return DetectorPhrases(phrases=unique, sentence=f"asking {detector.name} for {asked}")


def _not_understood(phrase: str, *, has_words: bool) -> InputError:
    own = (
        f"this model knows {describe_classes(OWN_CLASSES)}"
        if has_words
        else f"a tuned model with a head knows {describe_classes(OWN_CLASSES)}, and this is none"
    )
    return InputError(
        f"nothing here understands {phrase!r}: {own}; other words need an open-vocabulary "
        f"detector, and none is configured (--detector FOLDER; {_GUIDE})"
    )


def _without_head(match: WordMatch, segmenter: Segmenter | None) -> ModelError:
    name = segmenter.sam.name if segmenter else "this model"
    return ModelError(
        f"{name} has no prompt-free head, which finding all {match.class_name} needs; give a "
        "model that `mitosam finetune` trained, or a detector with --detector FOLDER "
        f"({_GUIDE})"
    )
