"""Small tools that everything may use: files, hashes, names, words."""
