"""Where weights come from, how they are loaded, adapted and named."""
