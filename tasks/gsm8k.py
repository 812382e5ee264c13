"""GSM8K: grade-school word problems with a number as the answer."""

from harness.contracts import Dataset

DATASET = Dataset(folder="gsm8k", hub="openai/gsm8k", config="main")
