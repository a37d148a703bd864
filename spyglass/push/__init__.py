"""Profiles to servers of profiles: Pyroscope, and receivers of OTLP."""
