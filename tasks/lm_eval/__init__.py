"""Tasks of lm-eval over our models: its prompts, its filters, its metrics; `corners` touches what it keeps private."""
