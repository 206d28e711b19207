"""What is wrong with a dataset: arrays in, ranked rows out."""
