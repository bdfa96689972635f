"""Thin Nipype wrappers: read, call, write."""
