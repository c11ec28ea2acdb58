"""Audits from the topics: ledger of raw records, trace of an event, rebuild and repair of the state tables."""
