"""PubMedQA: yes, no or maybe, from the abstract of a paper."""

from harness.contracts import Dataset

DATASET = Dataset(folder="pubmedqa", hub="qiaojin/PubMedQA", config="pqa_labeled")
ANSWERS = ("yes", "no", "maybe")
