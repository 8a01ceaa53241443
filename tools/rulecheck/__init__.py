"""Checking rewrite rules by trying them: left sides are made up, rewritten, and both sides are run.

How an instance is made, from decisions:
choices.py    every decision of one attempt, recorded, so that it can be varied and made simpler
sketch.py     a graph in the making, on which all others draw
build.py      an instance: a graph that is given for the rule, or what instance.py makes up
instance.py   a left side as a graph; plan.py: one call of it
structure.py  the parts of a left side by number, the ways to match it, what natives are asked
names.py      names that conditions share; hints.py: what conditions say about shapes, types and constants
natives.py    numbers that natives compare with, read from their code
wanted.py     what is asked of a value that is to be made, and arithmetic on shapes known in part
layouts.py    the shapes that operators need, by operator; more of them in layers.py and movement.py
arrays.py     numbers for constants and inputs
given/        computations that natives look into, which are not found by trying

What is done with it:
judge.py      everything that may be wrong with one instance; fault.py: what that is, applying a rule once
trial.py      both sides run and compared; unknown.py: the same with sizes that are not known
values.py     inputs, runners and differences
worker.py     onnxruntime in a process of its own; reference.py: onnx's evaluator
search.py     attempts, the nearest ones varied, until a rule fires in all the ways that it is written
run.py        all rules one after the other; report.py: what is shown; verb.py: the command
"""
