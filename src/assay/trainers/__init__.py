"""Trainers: Assay's benchmarks and environments as what other people's training libraries train on."""
