"""The evaluation sets of HarmAug and XSTest, as their publishers' files hold them -> rows.

No column is guessed: a file of another shape is refused by name. The paper's figures stand
beside the measured ones (arXiv 2410.01524, table 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmguard.errors import DataError
from harmguard.rows import Row, has_surrogate, read_records

Record = Mapping[str, Any]

_MODERATION = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")
_VOTES = ("human_0", "human_1", "human_2")
_HARM = {"harmful": 1, "unharmful": 0}
_XSTEST = {"unsafe": 1, "safe": 0}


@dataclass(frozen=True)
class Set:
    """One evaluation set: its files, how a record becomes a row, and the paper's F1 at .5."""

    name: str
    files: tuple[str, ...]  # the names that it is published under
    row: Callable[[Record, str], Row | None]
    student_f1: float | None  # HarmAug's 435M student
    teacher_f1: float | None  # Llama-Guard-3-8B


def load_suite(folder: Path) -> list[tuple[Path, list[Row]]]:
    """The rows of every set of the suite whose file lies in `folder`.

    Raises DataError when none does, and for a file with a missing column or odd values.
    """
    found = []
    for one in SETS:
        paths = [folder / name for name in one.files if (folder / name).is_file()]
        if paths:
            found.append((paths[0], _rows(one, paths[0])))
    if not found:
        names = ", ".join(name for one in SETS for name in one.files)
        raise DataError(f"{folder.name} holds none of the suite's files; expected some of {names}")
    return found


def table(report: Mapping[str, Any]) -> str:
    """F1 at .5 and AUPRC of each set beside the paper's, as a Markdown table."""
    lines = [
        "| set | n | F1 | AUPRC | F1, HarmAug 435M | F1, Llama-Guard-3-8B |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    known = {source["source"]: source for source in report["sources"]}
    for one in SETS:
        if one.name in known:
            source = known[one.name]
            f1, auprc = (f"{source[name]['value']:.4f}" for name in ("f1", "auprc"))
            paper = [_four(one.student_f1), _four(one.teacher_f1)]
            lines.append(f"| {one.name} | {source['n']} | {f1} | {auprc} | {' | '.join(paper)} |")
    four = [known[one.name] for one in SETS if one.name in known and one.student_f1 is not None]
    if len(four) == 4:
        f1, auprc = (f"{sum(s[name]['value'] for s in four) / 4:.4f}" for name in ("f1", "auprc"))
        lines.append(f"| mean of the paper's four | | {f1} | {auprc} | .7357 | .7080 |")
        lines.append("| their mean AUPRC in the paper | | | | .8362 | .7720 |")
    else:
        lines.append(f"\n{len(four)} of the paper's 4 sets are here: no mean.")
    return "\n".join(lines)


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}".removeprefix("0")


def _rows(one: Set, path: Path) -> list[Row]:
    rows = []
    for number, record in enumerate(read_records(path), 1):
        # An empty cell of CSV is no field in a record, and an empty string to a publisher.
        fields = {name: record.fields.get(name, "") for name in record.names}
        try:
            row = one.row(fields, f"{one.name}-{number}")
        except KeyError as error:
            raise DataError(
                f"{path.name}, record {number}: no field {error}; expected {one.name} as its "
                "publisher gives it; nothing is guessed"
            ) from None
        except ValueError as error:
            raise DataError(f"{path.name}, record {number}: {error}") from None
        if row is not None:
            rows.append(row)
    if not rows:
        raise DataError(f"{path.name} holds no labelled records; expected at least one")
    return rows


def _make(name: str, source: str, prompt: Any, response: Any, label: int) -> Row:
    if not isinstance(prompt, str) or not isinstance(response, (str, type(None))):
        raise ValueError("a text is no string")
    if not prompt:
        raise ValueError("an empty prompt")
    if has_surrogate(prompt) or has_surrogate(response or ""):
        raise ValueError("a text with lone surrogates; expected valid Unicode")
    return Row(id=name, prompt=prompt, response=response, label=label, source=source)


def _bit(value: Any, field: str) -> int:
    if str(value) not in ("0", "1"):
        raise ValueError(f"{field} is neither 0 nor 1")
    return int(value)


def _moderation(record: Record, name: str) -> Row:
    """Harmful when one of the categories is; a category that was not judged is absent."""
    judged = [key for key in _MODERATION if key in record]
    odd = sorted(set(record) - {"prompt", *_MODERATION})
    if odd:
        raise ValueError(f"an unknown field; expected prompt and {', '.join(_MODERATION)}")
    if not judged:
        raise KeyError("/".join(_MODERATION))
    label = max(_bit(record[key], key) for key in judged)
    return _make(name, "openai-moderation", record["prompt"], None, label)


def _toxicchat(record: Record, name: str) -> Row:
    label = _bit(record["toxicity"], "toxicity")
    return _make(name, "toxicchat", record["user_input"], None, label)


def _harmbench(record: Record, name: str) -> Row:
    """The majority of three people's votes on the generation."""
    votes = sum(_bit(record[key], key) for key in _VOTES)
    return _make(name, "harmbench", record["test_case"], record["generation"], int(votes >= 2))


def _wildguard(record: Record, name: str) -> Row | None:
    """Pairs with a label of the response; None where the annotators did not agree."""
    label, response = record["response_harm_label"], record["response"]
    if label in (None, "") or response is None:
        return None
    if label not in _HARM:
        raise ValueError(f"response_harm_label is none of {sorted(_HARM)}")
    return _make(name, "wildguardtest", record["prompt"], response, _HARM[label])


def _xstest(record: Record, name: str) -> Row:
    label = record["label"]
    if label not in _XSTEST:
        raise ValueError(f"label is none of {sorted(_XSTEST)}")
    return _make(name, "xstest", record["prompt"], None, _XSTEST[label])


SETS: Sequence[Set] = (
    Set("openai-moderation", ("samples-1680.jsonl.gz", "samples-1680.jsonl"),
        _moderation, 0.7236, 0.8061),
    Set("toxicchat", ("toxic-chat_annotation_test.csv", "toxic-chat_annotation_test.json"),
        _toxicchat, 0.6283, 0.4859),
    Set("harmbench", ("text_behaviors_val_set.json",), _harmbench, 0.8331, 0.8551),
    Set("wildguardtest", ("wildguard_test.parquet", "wildguard_test.csv", "wildguard_test.jsonl"),
        _wildguard, 0.7576, 0.6852),
    Set("xstest", ("xstest_prompts.csv", "xstest_v2_prompts.csv"), _xstest, None, None),
)  # fmt: skip
