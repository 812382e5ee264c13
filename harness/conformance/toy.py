"""A language model and a tokenizer small enough to train in seconds, built in code: nothing is fetched.

The conformance kit runs every aligner on them. The weights are random, so they know nothing; what counts is that the
model can learn, that every part of a real one is there (byte-level BPE, chat template, end-of-turn token, grouped query
heads) and that the same seed gives the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

END_OF_TURN = "<|im_end|>"
PADDING = "<|endoftext|>"
SPECIAL = (PADDING, "<|im_start|>", END_OF_TURN)
VOCABULARY = 400
LONGEST = 1024
"""Positions of the model, and the length that the tokenizer names."""
END_LOGIT = 3.5
"""Mean logit of the end-of-turn token over the text below."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = (
    "The patient came to the clinic in the morning with a fever and a cough that had lasted for three days. The "
    "doctor asked about other symptoms, listened to the chest, and thought about what the most likely cause could "
    "be. Which of the following is the best answer to the question? The first answer is better than the second, "
    "because it explains what to do and when to come back. Please write a short and helpful answer, and say why. A "
    "good assistant tells the user what is known, what is not known, and where to find out more. Two trains leave "
    "the station at the same time; one of them travels at sixty miles an hour and the other at forty. How many "
    "hours later will they be one hundred miles apart? We add the two speeds, divide the distance by the sum, and "
    "find that the answer is one hour. In the garden there were red, green, and yellow flowers, some of them taller"
    " than the children who had planted them. Some people think that the winter is too long; others like the snow, "
    "the quiet, and the light of the evening. Thank you for your question. I hope that this helps."
)
"""What the tokenizer's merges are learned from."""


def tiny_tokenizer(
    texts: Sequence[str] = (TEXT,), *, vocabulary: int = VOCABULARY, longest: int = LONGEST, begin: str | None = None
) -> Any:
    """A byte-level BPE tokenizer of at most `vocabulary` tokens with a chat template; any text round-trips.

    `begin` is what it calls the token that begins a text, where it has one. Deterministic.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=longest,
    )


def tiny_model(seed: int = 0, *, head: int | None = None) -> Any:
    """A random Llama (`random_llama`) whose samples end after some 20 tokens.

    One row of its output projection is not random: the end-of-turn token's points along the mean hidden state.
    """
    import torch

    model, end = random_llama(seed, head=head), SPECIAL.index(END_OF_TURN)
    with torch.no_grad():
        hidden = model.model(torch.tensor([tiny_tokenizer()(TEXT)["input_ids"]])).last_hidden_state[0]
        mean = hidden.mean(0)
        model.lm_head.weight[end] = END_LOGIT * mean / mean.dot(mean)
    return model


def random_llama(
    seed: int,
    *,
    vocabulary: int = VOCABULARY,
    longest: int = LONGEST,
    spread: float = 0.2,
    tied: bool = False,
    begin: int | None = None,
    head: int | None = None,
) -> Any:
    """A Llama of 2 layers and width 32 with random weights from `seed`, fp32, on CPU, in evaluation mode.

    Its weights are ten times as wide as usual (`spread`), so that an adapter below the fixed output projection can move
    a token's log-probability by several nats. `head` is the width of an attention head (8 where none is given: kernels
    of other engines take no less than 32). The global random state is left as it was.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head or 8,
        max_position_embeddings=longest,
        initializer_range=spread,
        tie_word_embeddings=tied,
        bos_token_id=begin,
        eos_token_id=SPECIAL.index(END_OF_TURN),
        pad_token_id=SPECIAL.index(PADDING),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def tiny_folder(path: Path, seed: int = 0, *, head: int | None = None) -> Path:
    """Save model and tokenizer below `path` as an ordinary model folder, and return it."""
    tiny_model(seed, head=head).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path
