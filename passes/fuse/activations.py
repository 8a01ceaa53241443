"""Natives of the rules for activation functions."""

from __future__ import annotations
