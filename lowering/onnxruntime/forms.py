"""Natives of the rules that choose onnxruntime's forms of operators."""

from __future__ import annotations
