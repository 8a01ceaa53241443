"""Natives of the rules for rotary position embeddings: where the tables of cosines and sines come from."""

from __future__ import annotations
