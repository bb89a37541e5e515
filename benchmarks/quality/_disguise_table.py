"""The table of `benchmarks.quality.disguise`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmguard.bench.markdown import table

POINTS = ("default", "fpr_5", "fpr_1")


def disguise(result: Mapping[str, Any]) -> str:
    """Recall and benign flagged by attack and operating point, then benign texts as they are."""
    n, points = result["prompts"], [p for p in POINTS if p in result["clean"]["harmful"]]
    header = ["disguise", "group", *(f"recall, {p}" for p in points)]
    header += [*(f"benign flagged, {p}" for p in points), "points lost"]
    rows = [_row(one, result["clean"], points, n) for one in [result["clean"], *result["attacks"]]]
    benign = [
        [name, str(one["n"]), str(one["before"]), str(one["after"]), str(one["only_after"])]
        for name, one in result["benign"].items()
    ]
    return (
        f"{n} harmful and {n} benign prompts, in %, without views -> with them; points of recall "
        f"lost at the default point with views against clean text, and how many may be:\n\n"
        f"{table(header, rows)}\n\nBenign texts as they are, flagged at the default point:\n\n"
        + table(["texts", "n", "without views", "with views", "only with views"], benign)
    )


def _row(one: Mapping[str, Any], clean: Mapping[str, Any], points: list[str], n: int) -> list[str]:
    def share(counts: Mapping[str, int]) -> str:
        return f"{100 * counts['before'] / n:.0f} -> {100 * counts['after'] / n:.0f}"

    lost = 100 * (clean["harmful"]["default"]["before"] - one["harmful"]["default"]["after"]) / n
    limit = "" if one["most_lost"] is None else f" (at most {one['most_lost']:g})"
    return [
        one["name"].replace("|", "\\|"),
        one["group"],
        *(share(one["harmful"][point]) for point in points),
        *(share(one["benign"][point]) for point in points),
        f"{lost:.1f}{limit}",
    ]
