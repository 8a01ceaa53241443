"""Repair without training: layers that a lossy pass changed are fitted again to what the original model gives."""
