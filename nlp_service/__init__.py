"""Triage of citizens' petitions in Vietnamese: category, urgency, type, and whether a person must look."""

__version__ = "0.1.0"
