"""Metrics of generated text from optional libraries (extra `metrics`), in [0, 1]."""

from collections.abc import Sequence
from itertools import zip_longest
from statistics import fmean

_References = Sequence[str | tuple[str, ...]]
"""What each answer is compared with: one text, or several of which the best counts."""


def rouge_l(predictions: Sequence[str], references: _References) -> float:
    """Return the mean F-measure of ROUGE-L, the best of several, as rouge-score computes it without stemming.

    Lin, ROUGE: A Package for Automatic Evaluation of Summaries (2004).
    """
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415 (optional)

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    several = [(r,) if isinstance(r, str) else r for r in references]
    return fmean(
        max(scorer.score(reference, prediction)["rougeL"].fmeasure for reference in own)
        for prediction, own in zip(predictions, several, strict=True)
    )


def bleu(predictions: Sequence[str], references: _References) -> float:
    """Return the BLEU of all answers together as the sacrebleu library computes it by default, divided by 100.

    Post, A Call for Clarity in Reporting BLEU Scores (WMT 2018).
    """
    import sacrebleu  # noqa: PLC0415 (optional)

    several = [(r,) if isinstance(r, str) else r for r in references]
    streams = [list(stream) for stream in zip_longest(*several)]
    return float(sacrebleu.corpus_bleu(list(predictions), streams).score) / 100
