"""Natives of the rules for attention."""

from __future__ import annotations
