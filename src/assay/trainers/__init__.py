"""Trainers: how training libraries such as TRL and verl train on Assay's benchmarks."""
