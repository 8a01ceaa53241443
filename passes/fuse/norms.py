"""Natives of the rules for normalizations."""

from __future__ import annotations
