"""Natives of the rules for arrangements of elements."""

from __future__ import annotations
