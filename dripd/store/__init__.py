"""Kept where: the Store protocol, Postgres and its twin in memory."""
