"""MedMCQA: four-option questions of Indian medical entrance exams."""

from harness.contracts import Dataset

DATASET = Dataset(folder="medmcqa", hub="openlifescienceai/medmcqa", splits={"pool": "train", "eval": "validation"})
LETTERS = ("A", "B", "C", "D")
