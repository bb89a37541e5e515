"""The engine `openai` against a real HTTP server that speaks the completions protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from harmguard.errors import EngineError, GenerationError, ServerError
from harmguard.rows import read_rows
from harmguard.training.harmaug.engines.local import LocalModel
from harmguard.training.harmaug.generate import generate
from harmguard.training.harmaug.label import label
from harmguard.training.harmaug.plan import Engine, Plan
from harmguard.training.harmaug.respond import respond
from harmguard.training.models import Model
from harmguard.training.stage import AWAY_ROWS

pytestmark = pytest.mark.skipif(find_spec("openai") is None, reason="needs the extra [scale]")


@dataclass
class Served:
    """A model behind HTTP, the requests that it got, and what it does wrong for some."""

    model: LocalModel
    requests: list[dict[str, Any]] = field(default_factory=list)
    trouble: dict[int, tuple[int, str]] = field(default_factory=dict)  # request -> status, body
    always: dict[tuple[int, ...], tuple[int, str]] = field(default_factory=dict)  # prompt -> same
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: dict[str, Any]) -> tuple[int, str]:
        with self.lock:  # one model, several threads
            number = len(self.requests)
            self.requests.append(request)
            wrong = self.trouble.get(number) or self.always.get(tuple(request["prompt"]))
            return wrong or (200, json.dumps(self.completion(request)))

    def completion(self, request: dict[str, Any]) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "text": "", "logprobs": None}
        if request.get("logprobs"):
            with torch.no_grad():
                logits = self.model.model(torch.tensor([request["prompt"]])).logits[0, -1]
            top = logits.log_softmax(-1).topk(request["logprobs"])
            names = [self.model.tokenizer.decode([i]) for i in top.indices.tolist()]
            pairs = dict(zip(names, top.values.tolist(), strict=True))
            choice["text"] = names[0]
            choice["logprobs"] = {
                "tokens": names[:1], "token_logprobs": [top.values[0].item()],
                "top_logprobs": [pairs], "text_offset": [0],
            }  # fmt: skip
        else:
            ids = torch.tensor([request["prompt"]])
            torch.manual_seed(request["seed"])
            out = self.model.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True,
                max_new_tokens=request["max_tokens"], temperature=request["temperature"],
            )  # fmt: skip
            choice["text"] = self.model.tokenizer.decode(
                out[0, ids.shape[1] :], skip_special_tokens=True
            )
        return {"id": "c", "object": "text_completion", "created": 0, "model": request["model"],
                "choices": [choice]}  # fmt: skip


def serve(model: str) -> Iterator[Served]:
    served = Served(LocalModel.load(Model(model)))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/completions"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, text = served.answer(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # It looks as often for the order to stop: by default every half second.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def teacher(smoke_models: Path) -> Iterator[Served]:
    yield from serve(str(smoke_models / "models" / "teacher"))


@pytest.fixture
def generator(smoke_models: Path) -> Iterator[Served]:
    yield from serve(str(smoke_models / "models" / "generator"))


def served_plan(plan: Plan, served: Served) -> Plan:
    engine = Engine("openai", block_rows=16, workers=4)
    model = replace(plan.label.model, url=served.url)
    return replace(plan, engine=engine, label=replace(plan.label, model=model))


def soft(folder: Path) -> list[float | None]:
    return [row.soft for row in read_rows(folder / "rows.jsonl")]


def test_labels_equal_those_of_the_local_engine(
    smoke: Plan, teacher: Served, tmp_path: Path
) -> None:
    data = [Path(smoke.evaluate[0])]
    # A rate limit, a passing failure: asked again by the client.
    teacher.trouble = {3: (429, "{}"), 7: (503, "{}"), 8: (500, "not json")}
    label(served_plan(smoke, teacher), data, tmp_path / "served")
    label(smoke, data, tmp_path / "local")
    assert soft(tmp_path / "served") == pytest.approx(soft(tmp_path / "local"), abs=1e-5)
    assert len(teacher.requests) == 40 + 3
    start = teacher.model.tokenizer.bos_token_id
    for request in teacher.requests:
        assert all(isinstance(i, int) for i in request["prompt"])
        assert request["prompt"][0] == start
        assert request["prompt"].count(start) == 1
        assert request["max_tokens"] == 1


def test_a_missing_word_is_counted_and_no_number(
    smoke: Plan, teacher: Served, tmp_path: Path
) -> None:
    plain = teacher.completion

    def without_unsafe(request: dict[str, Any]) -> dict[str, Any]:
        value = plain(request)
        top = value["choices"][0]["logprobs"]["top_logprobs"][0]
        if top["unsafe"] < top["safe"]:  # what a server with few log-probabilities leaves out
            del top["unsafe"]
        return value

    teacher.completion = without_unsafe  # type: ignore[method-assign]
    manifest = label(served_plan(smoke, teacher), [Path(smoke.evaluate[0])], tmp_path / "label")
    missing = manifest["summary"]["without_verdict"]["no log-probability of unsafe"]
    assert missing + manifest["summary"]["labelled"] == 40
    assert missing == pytest.approx(20, abs=3)
    assert min(s or 0.0 for s in soft(tmp_path / "label")) > 0.5


@pytest.mark.parametrize(
    ("status", "body", "name"),
    [
        (500, "{}", "status 500"),
        (200, "<html>welcome</html>", "an answer that is no completion"),
        (200, '{"choices": []}', "an answer that is no completion"),
        (200, '{"choices": [{"text": 5, "logprobs": {"top_logprobs": [7]}}]}', "no completion"),
        (200, '{"choices": [{"text": "x", "logprobs": {"top_logprobs": [{"safe": 9}]}}]}', "no co"),
        (200, "{}", "an answer that is no completion"),
    ],
)
def test_a_row_that_fails_is_named_and_the_others_are_kept(
    smoke: Plan, teacher: Served, tmp_path: Path, status: int, body: str, name: str
) -> None:
    plan, data = served_plan(smoke, teacher), [Path(smoke.evaluate[0])]
    label(plan, data, tmp_path / "whole")
    asked = {tuple(request["prompt"]) for request in teacher.requests}
    teacher.always = dict.fromkeys(sorted(asked)[:2], (status, body))
    with pytest.raises(ServerError, match=rf"label: 2 of 40 rows failed \(2 x .*{name}"):
        label(plan, data, tmp_path / "label")
    journal = (tmp_path / "label" / "journal.jsonl").read_text().splitlines()
    assert len(journal) == 38
    teacher.always = {}
    before = len(teacher.requests)
    label(plan, data, tmp_path / "label")
    again = {tuple(request["prompt"]) for request in teacher.requests[before:]}
    assert again == set(sorted(asked)[:2])
    assert len(teacher.requests) == before + 2
    for file in ("rows.jsonl", "rejects.jsonl", "manifest.json"):
        same = [(tmp_path / run / file).read_bytes() for run in ("label", "whole")]
        assert same[0] == same[1]


# vLLM says 400 of a prompt that is longer than its max-model-len.
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_row_that_the_server_refuses_is_counted_and_the_stage_ends(
    smoke: Plan, teacher: Served, tmp_path: Path, status: int
) -> None:
    plan, data = served_plan(smoke, teacher), [Path(smoke.evaluate[0])]
    label(plan, data, tmp_path / "whole")
    refused = sorted({tuple(request["prompt"]) for request in teacher.requests})[:2]
    teacher.always = dict.fromkeys(refused, (status, "{}"))
    manifest = label(plan, data, tmp_path / "label")
    reason = f"refused by the server with status {status}"
    assert manifest["summary"]["without_verdict"] == {reason: 2}
    assert manifest["summary"]["labelled"] == 38
    rejects = (tmp_path / "label" / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in rejects] == [reason] * 2
    # Not in the journal: the server's limit may be another when a killed run goes on.
    assert len((tmp_path / "label" / "journal.jsonl").read_text().splitlines()) == 38


@pytest.mark.parametrize(
    ("values", "found"),
    [('{"safe": -Infinity, "unsafe": -0.1}', 0), ('{"safe": -0.1, "unsafe": -9999.0}', 2)],
)
def test_an_infinite_log_probability_is_counted_and_no_number(
    smoke: Plan, teacher: Served, tmp_path: Path, values: str, found: int
) -> None:
    plan, data = served_plan(smoke, teacher), [Path(smoke.evaluate[0])]
    label(plan, data, tmp_path / "whole")
    prompts = sorted({tuple(request["prompt"]) for request in teacher.requests})[:2]
    body = f'{{"choices": [{{"text": "x", "logprobs": {{"top_logprobs": [{values}]}}}}]}}'
    teacher.always = dict.fromkeys(prompts, (200, body))
    summary = label(plan, data, tmp_path / "label")["summary"]
    reason = "a log-probability of safe or unsafe that is not finite"
    assert summary["without_verdict"] == ({} if found else {reason: 2})
    assert summary["labelled"] == 38 + found


@pytest.mark.parametrize(("status", "workers"), [(401, 1), (403, 4), (404, 4)])
def test_a_wrong_key_or_model_stops_at_once_and_loses_no_answer(
    smoke: Plan, teacher: Served, tmp_path: Path, status: int, workers: int
) -> None:
    plan, data = served_plan(smoke, teacher), [Path(smoke.evaluate[0])]
    plan = replace(plan, engine=replace(plan.engine, workers=workers))
    teacher.trouble = {8: (status, "{}")}
    with pytest.raises(EngineError, match=f"the server answers {status}"):
        label(plan, data, tmp_path / "label")
    asked = len(teacher.requests)
    # Several workers ask on until the answer is read, which a busy machine puts off.
    assert asked == 9 if workers == 1 else 9 <= asked < 40
    journal = (tmp_path / "label" / "journal.jsonl").read_text().splitlines()
    assert len(journal) == asked - 1
    label(plan, data, tmp_path / "label")
    assert len(teacher.requests) == 40 + 1
    label(plan, data, tmp_path / "whole")
    for file in ("rows.jsonl", "rejects.jsonl", "manifest.json"):
        same = [(tmp_path / run / file).read_bytes() for run in ("label", "whole")]
        assert same[0] == same[1]


def test_no_server(
    smoke: Plan, teacher: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harmguard.training.harmaug.engines import server

    monkeypatch.setattr(server, "RETRIES", 0)
    gone = replace(teacher, url="http://127.0.0.1:9/v1")
    with pytest.raises(
        ServerError, match=r"(\d+) of 40 rows failed \(\1 x no connection\); stopped"
    ):
        label(served_plan(smoke, gone), [Path(smoke.evaluate[0])], tmp_path / "label")


def test_a_server_that_stays_busy_ends_the_stage(
    smoke: Plan, teacher: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harmguard.training.harmaug.engines import server

    monkeypatch.setattr(server, "RETRIES", 0)
    teacher.trouble = dict.fromkeys(range(10, 100), (503, "{}"))
    with pytest.raises(ServerError, match=rf"stopped after {AWAY_ROWS} in a row without a server"):
        label(served_plan(smoke, teacher), [Path(smoke.evaluate[0])], tmp_path / "label")
    # Not all 40 rows: on a busy machine an answer that comes late begins the count anew.
    assert 10 + AWAY_ROWS <= len(teacher.requests) < 40
    assert len((tmp_path / "label" / "journal.jsonl").read_text().splitlines()) == 10


def test_instructions_through_a_server(smaller: Plan, generator: Served, tmp_path: Path) -> None:
    made = smaller.generate
    model, sampling = replace(made.model, url=generator.url), replace(made.sampling, stop="\n")
    settings = replace(made, model=model, sampling=sampling)
    plan = replace(smaller, generate=settings, engine=Engine("openai", block_rows=8, workers=3))
    manifest = generate(plan, tmp_path / "generate")
    assert {tuple(request["stop"]) for request in generator.requests} == {("\n",)}
    assert manifest["summary"]["harmful"]["kept"] >= 12
    assert manifest["summary"]["without_prefix"]["removed"] == {"refusal": 4}
    assert len({request["seed"] for request in generator.requests}) == len(generator.requests)


def test_instructions_that_are_no_text_or_refused_are_counted(
    smaller: Plan, generator: Served, tmp_path: Path
) -> None:
    settings = replace(smaller.generate, model=replace(smaller.generate.model, url=generator.url))
    plan = replace(smaller, generate=settings, engine=Engine("openai", block_rows=8, workers=3))
    half = '{"choices": [{"text": "Write a \\ud83d"}]}'
    generator.trouble = {2: (200, half), 3: (200, half), 5: (413, "{}")}
    manifest = generate(plan, tmp_path / "generate")
    removed = manifest["summary"]["harmful"]["removed"]
    assert removed["a text with half a character"] == 2
    assert removed["refused by the server with status 413"] == 1
    assert manifest["summary"]["harmful"]["kept"] >= 12
    generator.trouble = dict.fromkeys(range(1000), (400, "{}"))
    with pytest.raises(GenerationError, match=r"no text in \d+ answers \(\d+ x refused by the ser"):
        generate(plan, tmp_path / "none")


def test_responses_that_are_no_text_are_counted(
    smoke: Plan, generator: Served, tmp_path: Path
) -> None:
    mode = replace(smoke.respond.comply, model=replace(smoke.generate.model, url=generator.url))
    shares = {"comply": 1.0, "refuse": 0.0, "none": 0.0}
    settings = replace(smoke.respond, shares=shares, comply=mode, refuse=mode)
    plan = replace(smoke, respond=settings, engine=Engine("openai", workers=3))
    lines = [json.dumps({"id": f"i{n}", "prompt": "Write a note."}) for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    generator.trouble = {1: (200, '{"choices": [{"text": "Sure \\udc00"}]}'), 4: (400, "{}")}
    manifest = respond(plan, tmp_path / "rows.jsonl", tmp_path / "respond")
    removed = {"a text with half a character": 1, "refused by the server with status 400": 1}
    assert manifest["summary"]["comply"]["removed"] == removed
    assert manifest["outputs"]["rows.jsonl"]["rows"] == 4
    assert manifest["outputs"]["rejects.jsonl"]["rows"] == 2
