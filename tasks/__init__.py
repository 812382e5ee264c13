"""What is scored: one file per task, with pools of labels and judges beside them."""
