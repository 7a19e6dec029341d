"""Dataset: Protocol -> checked slice pairs, from the phantom or a folder."""
