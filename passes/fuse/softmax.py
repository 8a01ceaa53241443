"""Natives of the rules for Softmax and LogSoftmax."""

from __future__ import annotations
