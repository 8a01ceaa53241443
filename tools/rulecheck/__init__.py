"""Checking rewrite rules by trying them: left sides are made up, rewritten, and both sides are run.

choices.py    every decision of one attempt, recorded, so that it can be varied and made simpler
names.py      names that conditions share; hints.py: what conditions say about shapes, types and constants
wanted.py     what is asked of a value that is to be made
instance.py   a left side as a graph, from such decisions; plan.py: one call of it
layouts.py    the shapes that operators need, by operator; more of them in layers.py and movement.py
judge.py      what can be wrong with one instance; trial.py: its values, unknown.py: with unknown sizes
search.py     attempts, the nearest ones varied, until a rule fires in the ways that structure.py finds
values.py     inputs, running both sides, comparing; worker.py: onnxruntime in a process of its own
run.py        all rules one after the other; report.py: what is shown
"""
