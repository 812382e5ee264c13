"""Models that people align, at toy width: the real architecture with random weights, and a tokenizer with its rules.

The chat templates are short, written for these tests: each holds the rules of its family and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.conformance.toy import TEXT

VOCABULARY = 400
COMMON: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
MIXED = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
ALTERNATE = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant') }}{% endif %}{% endfor %}"
)
"""The first turn is the user's, and nobody speaks twice in a row."""
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASK_CHATML = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
DROPS_SYSTEM = (
    "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """One kind of model. `asked` is what a prompt of a system word S and a user's word U must read like."""

    name: str
    config: str
    """The name of its configuration class in transformers."""
    asked: str
    special: Sequence[str]
    eos: str
    bos: str | None = None
    pad: str | None = None
    adds_bos: bool = False
    template: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    experts: bool = False
    """Whether its feed-forward layers are experts that LoRA does not reach."""

    def __str__(self) -> str:
        return self.name

    def tokenizer(self) -> Any:
        """Byte-level BPE with the family's control tokens; without a padding token where the family has none."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        special, letters = list(self.special), pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=letters, show_progress=False
        )
        tokenizer.train_from_iterator([TEXT], trainer=trainer)
        if self.adds_bos and self.bos:
            begin = (self.bos, tokenizer.token_to_id(self.bos))
            tokenizer.post_processor = processors.TemplateProcessing(single=f"{self.bos} $A", special_tokens=[begin])
        named = {"bos_token": self.bos, "eos_token": self.eos, "pad_token": self.pad}
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            chat_template=self.template,
            clean_up_tokenization_spaces=False,
            model_max_length=512,
            **named,
        )

    def save(self, folder: Path) -> Path:
        """A model folder as the hub has it, its weights in several files."""
        import torch
        import transformers

        tokenizer = self.tokenizer()
        ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
        settings = {"hidden_act": "silu", **COMMON, **ids, **self.settings}
        config = getattr(transformers, self.config)(**settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config)
        model.save_pretrained(folder, max_shard_size="48KB")
        tokenizer.save_pretrained(folder)
        return folder


FAMILIES = (
    Family(
        "llama-3",
        "LlamaConfig",
        "<|begin|><|head|>system<|/head|>\n\nS<|eot|><|head|>user<|/head|>\n\nU<|eot|><|head|>assistant<|/head|>\n\n",
        special=("<|begin|>", "<|end_of_text|>", "<|head|>", "<|/head|>", "<|eot|>"),
        bos="<|begin|>",
        eos="<|eot|>",
        adds_bos=True,
        template="{{ bos_token }}{% for m in messages %}<|head|>{{ m.role }}<|/head|>\n\n{{ m.content | trim }}<|eot|>"
        "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}",
        settings={
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500_000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    Family(
        "qwen-2.5",
        "Qwen2Config",
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
        template="{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
        + CHATML
        + ASK_CHATML,
        settings={"tie_word_embeddings": True},
    ),
    Family(
        "qwen-3",
        "Qwen3Config",
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
        template="{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
        settings={"head_dim": 16},
    ),
    Family(
        "qwen-3-moe",
        "Qwen3MoeConfig",
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
        template=CHATML + ASK_CHATML,
        settings={"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
        experts=True,
    ),
    Family(
        "gemma-3",
        "Gemma3TextConfig",
        "<bos><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\n",
        special=("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        adds_bos=True,
        template="{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
        + ALTERNATE
        + "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ first if loop.first }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        settings={"head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 5.0, **MIXED},
    ),
    Family(
        "mistral",
        "MistralConfig",
        "<s>[INST] S\n\nU[/INST]",
        special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        bos="<s>",
        eos="</s>",
        adds_bos=True,
        template="{{ bos_token }}"
        + ALTERNATE
        + "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}"
        "[/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
        settings={"sliding_window": 16},
    ),
    Family(
        "phi-2",
        "PhiConfig",
        "System:\nS\n\nUser:\nU\n\nAssistant:\n",
        special=("<|endoftext|>",),
        bos="<|endoftext|>",
        eos="<|endoftext|>",
        settings={"hidden_act": "gelu_new"},
    ),
    Family(
        "phi-3",
        "Phi3Config",
        "<|user|>\nS\n\nU<|end|>\n<|assistant|>\n",
        special=("<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"),
        bos="<s>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        template=DROPS_SYSTEM,
        settings={"sliding_window": 16},
    ),
    Family(
        "smollm2",
        "LlamaConfig",
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        bos="<|im_start|>",
        eos="<|im_end|>",
        pad="<|im_end|>",
        template=CHATML + ASK_CHATML,
        settings={"tie_word_embeddings": True},
    ),
    Family(
        "smollm3",
        "SmolLM3Config",
        "<|im_start|>system\n/no_think S<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n",
        special=("<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"),
        eos="<|im_end|>",
        template="{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
        "{% set quiet = '' if enable_thinking else '<think>\n\n</think>\n' %}<|im_start|>system\n"
        "{{ '/think' if enable_thinking else '/no_think' }} {{ messages[0].content if messages[0].role == 'system' }}"
        "<|im_end|>\n{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n"
        "{{ quiet if m.role == 'assistant' }}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{{ quiet }}{% endif %}",
        settings={"num_hidden_layers": 4, "tie_word_embeddings": True},
    ),
    Family(
        "gpt-oss",
        "GptOssConfig",
        "<|start|>system<|message|>S<|end|><|start|>user<|message|>U<|end|><|start|>assistant<|channel|>final<|message|>",
        special=("<|endoftext|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
        eos="<|return|>",
        pad="<|endoftext|>",
        template="{% for m in messages %}<|start|>{{ m.role }}{{ '<|channel|>final' if m.role == 'assistant' }}"
        "<|message|>{{ m.content }}{{ '<|return|>' if loop.last and m.role == 'assistant' else '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        settings={
            "head_dim": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 150_000.0,
                "factor": 4.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 128,
            },
            **MIXED,
        },
        experts=True,
    ),
)
