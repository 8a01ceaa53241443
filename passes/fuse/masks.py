"""Natives of the rules for masks."""

from __future__ import annotations
