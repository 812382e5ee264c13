"""MATH-500: 500 competition problems with a boxed answer."""

from harness.contracts import Dataset

DATASET = Dataset(folder="math500", hub="HuggingFaceH4/MATH-500", splits={"eval": "test"})
