"""The bridge against lm-eval's own HFLM: same token ids, same log-probabilities, same prompts."""

import hashlib
import logging
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from harness.contracts import ChooseRequest, Completion, GenerateRequest, HarnessError, Loglik, LoglikRequest
from tasks.lm_eval.bridge import evaluate_task, likeliest, run_task
from tasks.lm_eval.catalogue import stock_task, stock_text
from tasks.lm_eval.corners import quiet
from tasks.lm_eval.model import CONTEXTS_PER_CALL, lm
from tests.tiny import tiny_model, tiny_tokenizer


class HashAligned:
    """Log-probabilities from a hash of the token ids: cheap, and different for every request."""

    max_length = 512

    def __init__(self) -> None:
        self.tokenizer = tiny_tokenizer()
        self.calls: list[list[LoglikRequest]] = []
        self.generations: list[GenerateRequest] = []

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        self.calls.append(list(requests))
        return [self.one(request) for request in requests]

    def one(self, request: LoglikRequest) -> Loglik:
        digest = hashlib.sha256(repr((request.context, request.continuation)).encode()).digest()
        return Loglik(-digest[0] / 16 - digest[1] / 4096, len(request.continuation), digest[2] < 128)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        self.generations += requests
        return [[Completion("forty two\nQuestion: next", (1, 2), "length")] for _ in requests]


class ChooserAligned:
    """Can choose, cannot score: the last option but one is the likeliest."""

    max_length = 512

    def __init__(self) -> None:
        self.tokenizer = tiny_tokenizer()
        self.asked: list[ChooseRequest] = []

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        self.asked += requests
        return [self.shares(len(request.options)) for request in requests]

    def shares(self, options: int) -> list[float]:
        return [math.log(0.5 if i == options - 2 else 0.5 / (options - 1)) for i in range(options)]


class TinyAligned(HashAligned):
    """One plain forward per request over the tiny model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = tiny_model()

    def one(self, request: LoglikRequest) -> Loglik:
        import torch

        ids = torch.tensor([[*request.context, *request.continuation]])
        with torch.no_grad():
            logprobs = self.model(ids[:, :-1]).logits.log_softmax(-1)[0, len(request.context) - 1 :]
        target = ids[0, len(request.context) :]
        total = float(logprobs.gather(1, target[:, None]).sum())
        return Loglik(total, len(request.continuation), bool((logprobs.argmax(-1) == target).all()))


def doc(index: int, words: int = 3) -> dict[str, Any]:
    endings = {f"ending{i}": f"drug {index}{letter}" for i, letter in enumerate("abcd")}
    text = f"Case {index}: " + "fever and cough " * words + "Which drug?"
    return {"id": f"q{index}", "sent1": text, "sent2": "", **endings, "label": index % 4}


def rendered(entry: dict[str, Any]) -> str:
    """The stock task's own function on a row."""
    task = stock_task("medqa_4options", {"test": [entry]}, folder="medqa")
    return str(task.config.doc_to_text(entry))


def hflm(tokenizer: Any = None) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=tiny_model(), tokenizer=tokenizer or tiny_tokenizer(), batch_size=2)


def bos_tokenizer() -> Any:
    """One that starts every text with its BOS token, as Gemma's does."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return tokenizer


def requests(*arguments: tuple[Any, ...]) -> list[Any]:
    return [SimpleNamespace(args=pair, task_name="t") for pair in arguments]


PAIRS = [
    ("Question: which drug?\nAnswer:", " A"),
    ("Question: which drug?\nAnswer:", " B"),
    ("trailing space ", "B and more"),
    ("trailing lines \n\n", "C"),
    ("", "an empty context"),
    ("<|im_start|>user\nalready templated<|im_end|>\n", "yes"),
    ("x", " ein längeres Wort – 中文"),
    ("one two three " * 300, " far too long for the model"),
]


def test_import_is_light() -> None:
    code = "import sys, tasks.lm_eval.bridge; assert not {'lm_eval', 'torch', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("make", [tiny_tokenizer, bos_tokenizer])
def test_token_ids_are_those_of_hflm(make: Callable[[], Any]) -> None:
    aligned = HashAligned()
    aligned.tokenizer = make()
    ours, theirs = lm(aligned), hflm(make())
    for context, continuation in PAIRS:
        if context:
            assert ours._encode_pair(context, continuation) == theirs._encode_pair(context, continuation)
    adds_bos = make is bos_tokenizer
    assert ours.tok_encode("fever")[:1].count(ours.prefix_token_id) == adds_bos
    assert ours.tok_encode("<|im_start|>fever").count(ours.prefix_token_id) == 1
    assert ours.prefix_token_id == theirs.prefix_token_id
    assert ours.eot_token_id == theirs.eot_token_id
    assert ours.max_length == theirs.max_length


def test_logprobs_are_those_of_hflm() -> None:
    aligned = TinyAligned()
    ours = lm(aligned).loglikelihood(requests(*PAIRS), disable_tqdm=True)
    theirs = hflm().loglikelihood(requests(*PAIRS), disable_tqdm=True)
    assert [total for total, _ in ours] == pytest.approx([total for total, _ in theirs], abs=1e-3)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_rolling_logprobs_are_those_of_hflm() -> None:
    texts = requests(("a short text",), ("one two three " * 300,))
    ours = lm(TinyAligned()).loglikelihood_rolling(texts)
    theirs = hflm().loglikelihood_rolling(texts, disable_tqdm=True)
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_long_context_loses_its_left_end_and_says_so() -> None:
    aligned = HashAligned()
    [sample] = evaluate_task(aligned, "medqa_4options", {"test": [doc(0, words=200)]}, folder="medqa")
    assert sample.clipped
    assert {len(r.context) + len(r.continuation) for r in aligned.calls[0]} == {aligned.max_length + 1}
    [short] = evaluate_task(aligned, "medqa_4options", {"test": [doc(0)]}, folder="medqa")
    assert not short.clipped


def test_zero_shot_prompts_are_stock() -> None:
    docs = [doc(i) for i in range(3)]
    samples = evaluate_task(HashAligned(), "medqa_4options", {"test": docs}, folder="medqa")
    assert [sample.prompt for sample in samples] == [rendered(entry) for entry in docs]
    assert samples[1].prompt == (
        "Question: Case 1: fever and cough fever and cough fever and cough Which drug?\n"
        "A. drug 1a\nB. drug 1b\nC. drug 1c\nD. drug 1d\nAnswer:"
    )
    assert [option.text for option in samples[0].options] == [" A", " B", " C", " D"]


def test_few_shot_prompts_are_stock_documents_joined() -> None:
    train, test, own = [doc(10), doc(11), doc(12)], [doc(0)], [doc(21), doc(20)]
    blocks = [f"{rendered(entry)} {'ABCD'[entry['label']]}\n\n" for entry in (train[0], train[1], own[0], own[1])]
    rows = {"train": train, "test": test}
    [stock] = evaluate_task(HashAligned(), "medqa_4options", rows, num_fewshot=2, folder="medqa")
    assert stock.prompt == "".join(blocks[:2]) + rendered(test[0])
    [ours] = evaluate_task(HashAligned(), "medqa_4options", rows, num_fewshot=2, fewshot_rows=own, folder="medqa")
    assert ours.prompt == "".join(blocks[2:]) + rendered(test[0])


def test_samples_carry_what_the_model_said() -> None:
    aligned = HashAligned()
    docs = [doc(i, words=1 + i % 5) for i in range(2 * CONTEXTS_PER_CALL + 3)]
    seen: list[tuple[str, int, int]] = []
    samples = evaluate_task(
        aligned, "medqa_4options", {"test": docs}, folder="medqa", progress=lambda *step: seen.append(step)
    )
    answered = {r: aligned.one(r) for call in aligned.calls for r in call}
    for entry, sample in zip(docs, samples, strict=True):
        assert sample.id == entry["id"]
        ids = tuple(aligned.tokenizer.encode(sample.prompt))
        wanted = [answered[LoglikRequest(ids, tuple(aligned.tokenizer.encode(f" {letter}")))] for letter in "ABCD"]
        assert [(o.total, o.tokens, o.is_greedy) for o in sample.options] == [
            (w.total, w.tokens, w.is_greedy) for w in wanted
        ]
        assert sample.metrics["acc"] == float(likeliest(sample.options) == entry["label"])
        assert sample.answer == "ABCD"[likeliest(sample.options)]
        assert set(sample.metrics) == {"acc", "acc_norm"}
    assert seen[-1] == ("answers", 4 * len(docs), 4 * len(docs))
    assert len(seen) == 3


def test_limit_takes_the_first_rows() -> None:
    samples = evaluate_task(
        HashAligned(), "medqa_4options", {"test": [doc(i) for i in range(5)]}, limit=2, folder="medqa"
    )
    assert [sample.id for sample in samples] == ["q0", "q1"]


def test_broken_logprobs_raise() -> None:
    aligned = HashAligned()
    aligned.one = lambda request: Loglik(float("nan"), 1, False)  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="nan"):
        evaluate_task(aligned, "medqa_4options", {"test": [doc(0)]}, folder="medqa")


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(HarnessError, match=r"no task 'medqa_4option'.*'medqa_4options'"):
        stock_task("medqa_4option", {"test": [doc(0)]}, folder="medqa")
    with pytest.raises(HarnessError, match="no task folder 'medqq'"):
        stock_text("medqq")


def test_too_few_demonstrations() -> None:
    with pytest.raises(HarnessError, match="3 demonstrations asked for, 1 available"):
        evaluate_task(
            HashAligned(), "medqa_4options", {"test": [doc(0)]}, num_fewshot=3, fewshot_rows=[doc(9)], folder="medqa"
        )


def test_lm_eval_stays_quiet_and_is_left_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    import lm_eval.api.task as task_module

    bar, level = task_module.tqdm, logging.getLogger("lm_eval").level
    evaluate_task(HashAligned(), "medqa_4options", {"test": [doc(0, words=200)]}, folder="medqa")
    assert capfd.readouterr() == ("", "")
    assert task_module.tqdm is bar
    assert logging.getLogger("lm_eval").level == level


def test_stock_text_holds_config_and_code() -> None:
    text = stock_text("medqa")
    assert "task: medqa_4options" in text
    assert "def doc_to_text" in text


def test_generation_follows_the_task_settings() -> None:
    aligned = HashAligned()
    model = lm(aligned, seed=3)
    greedy: dict[str, Any] = {"until": ["\nQuestion:"], "do_sample": False, "max_gen_toks": 32}
    sampled: dict[str, Any] = {"until": ["two"], "do_sample": True, "temperature": 0.7, "top_p": 0.9}
    assert model.generate_until(requests(("a", greedy), ("b", sampled))) == ["forty two", "forty "]
    first, second = aligned.generations
    assert (first.max_new_tokens, first.temperature, first.top_p, first.seed) == (32, 0.0, 1.0, 3)
    assert first.stop == ("\nQuestion:", "<|im_end|>")
    assert (second.max_new_tokens, second.temperature, second.top_p) == (256, 0.7, 0.9)
    with pytest.raises(HarnessError, match="num_beams"):
        model.generate_until(requests(("a", {"until": [], "num_beams": 4})))
    with pytest.raises(HarnessError, match="no room"):
        model.generate_until(requests(("a", {"until": [], "max_gen_toks": 512})))


def test_repeats_of_a_sampled_request_have_seeds_of_their_own() -> None:
    aligned = HashAligned()
    sampled: dict[str, Any] = {"until": [], "do_sample": True, "temperature": 0.7}
    greedy: dict[str, Any] = {"until": [], "do_sample": False}
    lm(aligned, seed=3).generate_until(requests(*[("a", sampled)] * 3, ("b", sampled), *[("a", greedy)] * 2))
    assert [request.seed for request in aligned.generations] == [3, 4, 5, 3, 3, 3]


def problem(index: int) -> dict[str, Any]:
    return {"id": f"p{index}", "question": f"What is {index} and forty?", "answer": f"Add.\n#### {index + 40}"}


def test_every_filter_of_a_task_gives_metrics_of_its_own() -> None:
    aligned = HashAligned()
    aligned.generate = lambda batch: [[Completion("first 41, then\n#### 42", (1,), "stop")] for _ in batch]  # type: ignore[method-assign]
    samples = evaluate_task(aligned, "gsm8k", {"test": [problem(i) for i in range(3)]}, folder="gsm8k")
    assert [sample.id for sample in samples] == ["p0", "p1", "p2"]
    assert [sample.metrics for sample in samples] == [
        {"exact_match,strict-match": right, "exact_match,flexible-extract": right} for right in (0.0, 0.0, 1.0)
    ]
    assert samples[0].output == "first 41, then\n#### 42"
    assert samples[0].filtered == {"strict-match": "42", "flexible-extract": "42"}
    assert samples[0].answer == "42"


def test_aggregates_are_lm_evals() -> None:
    with quiet():
        task = stock_task("medqa_4options", {"test": [doc(i) for i in range(8)]}, folder="medqa")
    found = run_task(HashAligned(), task)
    mean = sum(sample.metrics["acc"] for sample in found.samples) / 8
    assert found.aggregates["acc,none"] == pytest.approx(mean)
    assert set(found.aggregates) == {"acc,none", "acc_norm,none"}


def test_chat_template_is_the_tokenizers() -> None:
    model = lm(HashAligned())
    turns = [{"role": "user", "content": "hello"}]
    assert model.apply_chat_template(turns) == hflm().apply_chat_template(turns)
    assert model.chat_template(True) == model.tokenizer.chat_template


def test_a_model_that_chooses_is_asked_once_per_context() -> None:
    aligned = ChooserAligned()
    docs = [doc(index) for index in range(CONTEXTS_PER_CALL + 2)]
    samples = evaluate_task(aligned, "medqa_4options", {"test": docs}, folder="medqa")
    assert len(aligned.asked) == len(docs)
    letters = (" A", " B", " C", " D")
    assert {(request.labels, request.options) for request in aligned.asked} == {(letters, letters)}
    assert [request.prompt[0].content for request in aligned.asked] == [sample.prompt for sample in samples]
    for entry, sample in zip(docs, samples, strict=True):
        assert [option.total for option in sample.options] == aligned.shares(4)
        assert [option.is_greedy for option in sample.options] == [False, False, True, False]
        assert sample.answer == "C"
        assert sample.metrics["acc"] == float(entry["label"] == 2)


def test_choices_keep_the_order_of_the_requests() -> None:
    aligned = ChooserAligned()
    mixed = [("x", " a"), ("y", " p"), ("x", " b"), ("y", " q"), ("x", " c")]
    found = lm(aligned).loglikelihood(requests(*mixed), disable_tqdm=True)
    [x, y] = aligned.asked
    assert (x.options, y.options) == ((" a", " b", " c"), (" p", " q"))
    first, second = aligned.shares(3), aligned.shares(2)
    assert [total for total, _ in found] == [first[0], second[0], first[1], second[1], first[2]]


def test_a_model_that_chooses_cannot_score_one_text() -> None:
    for ask in (
        lambda model: model.loglikelihood(requests(("x", " a")), disable_tqdm=True),
        lambda model: model.loglikelihood_rolling(requests(("one two three " * 300,))),
    ):
        with pytest.raises(HarnessError, match="its capabilities lack loglik"):
            ask(lm(ChooserAligned()))


def test_a_model_that_can_score_is_never_asked_to_choose() -> None:
    class Both(ChooserAligned):
        def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
            return HashAligned().loglik(requests)

    aligned = Both()
    evaluate_task(aligned, "medqa_4options", {"test": [doc(0)]}, folder="medqa")
    assert not aligned.asked
