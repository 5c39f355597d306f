"""Real faults, tried on the real pipeline: kills, full disks, damage, hostile files, two at once, dying servers.

    python -m tests.faults [FAULT ...] [--seed SEED]    as make test-faults does: half an hour on two cores

Each module has a function that yields a Try for each fault that it tried. `tests/faults/test_faults.py` takes
the first few of each into make test.
"""
