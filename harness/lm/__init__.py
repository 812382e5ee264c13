"""The language model: tokens, log-probabilities, decoding, what is metered, and its backends."""
