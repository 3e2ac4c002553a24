"""Benchmarks: one module for each peer, and the models and batches that they share.

A peer is a module with TASKS, the names of what it can do, and
`prepare(task, case) -> run`, where `run(calls)` works through that many batches and
comes back when the last one is computed.
"""
