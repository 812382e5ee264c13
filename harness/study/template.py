"""The study file that `study init` writes: every key with a comment."""

from __future__ import annotations

TEMPLATE = """\
# A study: every aligner, on every task, with every number of labels, on every draw of the labels.
# Look before you run:   python -m harness study plan {path}
# Then:                  python -m harness study run {path}
#                        python -m harness study report {path}
# Keys and their types for your editor: python -m harness study schema > study.schema.json
name: {name}
store: runs                     # folder of records; a study never computes what is there already

# ---- axes: every combination is a cell
aligners:
  - sft
  - dpo
  - {{aligner: dpo, shuffle_labels: true}}   # control: the same method on labels that say nothing
  # - {{aligner: gem, settings: {{weights: random}}}}
tasks: [medqa]                  # see `python -m harness list tasks`
# pools: [null, ultrafeedback]  # where labels come from; null: the task's own pool
# models: [smollm2-135m-instruct]
budgets: [8, 32]                # labelled pairs; five budgets or more give learning curves
draws: 3                        # 0, 1, 2: which pairs are drawn. Six or more let p speak of new draws
# seeds: [0]                    # training seeds of every draw; left out: one for each draw
# folds: 1                      # parts of your own pairs, each held out once; left out: as `run` divides them
# judges: [null]                # for judged tasks; null: the task's own
# backends: [hf]
# tracks: [labels]              # or {{track: labels+compute, cap_flops: 1.0e15}}
# selection: last               # of every budget; left out: last with five budgets, else the budget's own

# exclude:                      # combinations that are left out; every key must match
#   - {{aligner: sft, budget: [8]}}

# ---- what all cells share: settings of `run`
shared:
  data: sample                  # auto, hub, sample, or a folder
  limit: 24                     # evaluate the first N items; leave out for all
  # lengths: {{prompt: 384, completion: 128, new_tokens: 128}}
  # lora: {{r: 16}}
  # precision: auto
  # fast_paths: auto            # auto, on, off: part of every cell's identity
  # gradient_checkpointing: false   # true: less memory while training, and a second forward
  # processes: 1                # that make a fit together, each on its own GPU
  # accelerate_config: fsdp.yaml    # of accelerate's: they divide the model's weights

# ---- where it runs
run:
  executor: local               # local, ray, slurm
  workers: 1                    # cells at a time; never more threads than cores
  # threads: 2                  # of a cell; they are part of its identity. Left out: one worker's share of the cores
  # memory_gb: 4                # of a cell; left out: estimated
  # gpus: 0
  # attempts: 3                 # starts of a cell whose worker dies
  # options: {{}}                 # the executor's own: address, partition, minutes, ...

# ---- when it stops: between cells; what is done is kept
# limits: {{hours: 8, flops: 1.0e17, usd: 5}}
# prices: {{"alpaca_eval:weighted_alpaca_eval_gpt4_turbo": 0.01}}   # US dollars for a judged answer

# report:
#   reference: dpo              # what methods are compared with, beside base
#   target_labels: 128          # label efficiency: the reference's budget
# observe: [tensorboard]        # or trackio
"""


def template(name: str, path: str) -> str:
    """A commented study file of this name."""
    return TEMPLATE.format(name=name, path=path)
