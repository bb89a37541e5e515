"""Raw results -> Markdown tables. Pure: the same JSON gives the same text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harmguard.bench import markdown
from harmguard.bench.fresh_processes import STEPS
from harmguard.bench.markdown import number, table
from harmguard.bench.run import NOISY

NOT_MEASURED = "Not measured yet."
NAMES = {
    "harmguard": "harmguard",
    "torch": "transformers + torch fp32",
    "optimum": "optimum dynamic int8",
}
MODES = {
    "text": "From text to score (tokenizer and wrapper included)",
    "ids": "The bare model, from ids to score",
}
SUMMARY_LENGTHS = (32, 128, 512)


def machine(result: Mapping[str, Any]) -> str:
    """One paragraph: CPU, cores, memory, system, versions, and the artefact where it is one."""
    parts = [markdown.machine(result["machine"])]
    if "threads" in result:
        parts.append(f"{result['threads']} threads.")
    bundle = result.get("bundle")
    if bundle is not None:
        parts.append(
            f"Bundle {bundle['name']} {bundle['version']} ({bundle['recipe']}, "
            f"{bundle['status']}), guard.json sha256 `{bundle['sha256']['guard.json'][:16]}`."
        )
    parts.append(f"Started {result['started']}" + (", a quick run." if result["quick"] else "."))
    return " ".join(parts)


def speed(result: Mapping[str, Any]) -> str:
    """Latency by length, once from text and once for the bare model."""
    parts = []
    for mode, title in MODES.items():
        rows = []
        for length in result["lengths"]:
            taken, times = length[mode]["ms"], length[mode]["times_harmguard"]
            rows.append([str(length["tokens"]), *map(_latency, taken.values())])
            rows[-1] += [_ratio(one) for one in times.values()]
        head = [
            "tokens",
            *(f"{NAMES[name]}, ms" for name in result["lengths"][0][mode]["ms"]),
            *(f"{name} / harmguard" for name in result["lengths"][0][mode]["times_harmguard"]),
        ]
        parts.append(f"{title}:\n\n{table(head, rows)}")
    counts = sorted({one["text"]["ms"]["harmguard"]["n"] for one in result["lengths"]})
    parts.append(
        "Each cell: median (p90, p99; spread), with n = "
        + ", ".join(map(str, counts))
        + " by length; p99 is left out below n = 100, spread is (p90 - p10) / median. "
        "Each ratio: of the fastest runs (range of the rounds' medians). "
        f"Score error against torch fp32: harmguard {_worst(result, 'harmguard')}, "
        f"optimum {_worst(result, 'optimum')} at most."
    )
    modes = [length[mode] for length in result["lengths"] for mode in MODES]
    parts.append(noise([cell for one in modes for cell in one["ms"].values()]))
    return "\n\n".join(parts)


def noise(cells: Iterable[Mapping[str, Any]]) -> str:
    """One sentence: how many of the cells spread further than `harmguard bench` accepts."""
    spreads = [float(cell["spread"]) for cell in cells]
    far = sum(spread > NOISY for spread in spreads)
    told = f"Noise: {far} of {len(spreads)} spreads are above {NOISY:.0%}"
    if not far:
        return f"{told}, the largest is {max(spreads, default=0):.0%}."
    return (
        f"{told}, the largest is {max(spreads):.0%}: others had the machine's cores as well, so "
        "ratios, of calls that took turns, say more than milliseconds."
    )


def bulk(result: Mapping[str, Any]) -> str:
    """Throughput of the three ways."""
    titles = {
        "score_many": "harmguard `score_many`",
        "one_by_one": "harmguard `score`, one by one",
        "optimum": f"optimum dynamic int8, batches of {result['optimum_batch']}",
    }
    rows = []
    for way, title in titles.items():
        taken = result["seconds"][way]
        times = result["times_score_many"].get(way)
        rows.append(
            [
                title,
                f"{taken['median']:.1f}",
                f"{result['pairs'] / taken['median']:.1f}",
                _ratio(times) if times else "1",
            ]
        )
    search = ", ".join(f"{k}: {v:.2f} s" for k, v in result["optimum_search_s"].items())
    return (
        table(["way", "s", "pairs / s", "time / score_many"], rows)
        + f"\n\n{result['pairs']} pairs in {result['parts']} parts at which the ways took turns, "
        f"median of {result['seconds']['score_many']['n']} rounds (ratio: of the fastest, range "
        f"of the parts). Optimum by batch size, on every sixteenth pair: {search}."
    )


def startup(result: Mapping[str, Any]) -> str:
    """Start-up steps and memory."""
    taken = result["startup_s"]
    times = table(
        ["step", "median s", "p90 s"],
        [
            [markdown.STEP_NAMES[k], f"{taken[k]['median']:.3f}", f"{taken[k]['p90']:.3f}"]
            for k in STEPS
        ],
    )
    batch, tokens = result["batch"], result["long_tokens"]
    names = {
        "import": "after the import",
        "load": "after loading",
        "first_score": "after the first score",
        "long_score": f"after a score of {tokens} tokens",
        "batch_peak": f"peak of a batch of {batch} pairs of {tokens} tokens",
        "after_batch": "after that batch",
        "after_callers": f"a second after 8 threads that scored {tokens} tokens at once",
    }
    found = result["memory_mb"]
    rows = [[title, number(found[key], 1)] for key, title in names.items() if key in found]
    memory = table(["anonymous memory", "MB"], rows)
    idle = result.get("idle_cpu_ms", {})
    cost = table(
        ["processor at 10 calls a second of 25 tokens", "ms a call"],
        [[f"threads {threads}", number(ms, 1)] for threads, ms in idle.items()],
    )
    return (
        f"{times}\n\nn = {taken['total']['n']} fresh processes, files in the page cache.\n\n"
        f"{memory}\n\nHighest of {len(result['memory_runs_mb'])} fresh processes."
        + (f"\n\n{cost}" if idle else "")
    )


def longtext(result: Mapping[str, Any]) -> str:
    """Needles by place, and errors on pairs by length."""
    needles, pairs = result["needles"], result["pairs"]
    places = table(
        ["place", "found", "share (95 % interval)"],
        [
            [place, f"{one['count']} of {one['n']}", _share(one)]
            for place, one in [*needles["places"].items(), ("all", needles["all"])]
        ],
    )
    hay = needles["hay_flagged"]
    kinds = {"benign_flagged": "benign flagged", "harmful_missed": "harmful missed"}
    errors = table(
        ["error", "128 to 512 tokens", "over 512 tokens", "worse by"],
        [
            [
                title,
                f"{_share(pairs['middle'][k])}, n = {pairs['middle'][k]['n']}",
                f"{_share(pairs['long'][k])}, n = {pairs['long'][k]['n']}",
                number(pairs["worse_by"][k], 3),
            ]
            for k, title in kinds.items()
        ],
    )
    return (
        f"Harmful prompts that are flagged alone, put into {needles['hay_tokens']} tokens of "
        f"benign text; found means flagged while the benign text alone is not:\n\n{places}\n\n"
        f"The benign text alone: {hay['count']} of {hay['n']} flagged.\n\n"
        f"Labelled pairs at the default threshold ({pairs['threshold']:.4f}):\n\n{errors}"
    )


def run(result: Mapping[str, Any]) -> str:
    """What each part of a whole run took, against what was planned."""
    rows = [
        [one["name"], str(one["planned_s"]), str(one["took_s"]), one["ended"]]
        for one in result["parts"]
    ]
    rows.append(["all", f"{result['limit_s']} at most", str(result["took_s"]), ""])
    return table(["part", "planned, s", "took, s", "ended"], rows)


def summary(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The README's table, with the machine under it; needs speed, bulk and startup."""
    if not {"speed", "bulk", "startup"} <= set(results):
        return NOT_MEASURED
    fast = {one["tokens"]: one["text"] for one in results["speed"]["lengths"]}
    lengths = [tokens for tokens in SUMMARY_LENGTHS if tokens in fast]
    flow = results["bulk"]
    rows = []
    for name, title in NAMES.items():
        way = {"harmguard": "score_many", "optimum": "optimum"}.get(name)
        bulk_of = f"{flow['pairs'] / flow['seconds'][way]['median']:.0f}" if way else "-"
        rows.append([title, *(f"{fast[n]['ms'][name]['median']:.1f}" for n in lengths), bulk_of])
    start, found = results["startup"]["startup_s"]["total"], results["startup"]["memory_mb"]
    return (
        table(["", *(f"ms at {n} tokens" for n in lengths), "pairs / s in bulk"], rows)
        + f"\n\nProcess start to first score {start['median']:.2f} s; anonymous memory then "
        f"{number(found['first_score'], 0)} MB; bundle "
        f"{results['speed']['bundle']['bytes'] / 1e6:.1f} MB. Medians, one pair at a time, text to "
        "score; the bulk run has no torch. [Method, tails and the rest](benchmarks/README.md). "
        f"{noise(cell for one in fast.values() for cell in one['ms'].values())}\n\n"
        f"Machine: {machine(results['speed'])}"
    )


def _latency(taken: Mapping[str, Any]) -> str:
    p99 = f", {taken['p99']:.1f}" if taken["p99"] is not None else ""
    return f"{taken['median']:.1f} ({taken['p90']:.1f}{p99}; {taken['spread']:.0%})"


def _ratio(one: Mapping[str, float]) -> str:
    return f"{one['fastest']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def _share(one: Mapping[str, Any]) -> str:
    if one["share"] is None:
        return "none"
    return f"{one['share']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def _worst(result: Mapping[str, Any], name: str) -> str:
    return f"{max(one['score_error'][name]['max'] for one in result['lengths']):.3f}"
