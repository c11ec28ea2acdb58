"""What an operator proves and repairs with: the ledger of raw records, an event's way, the state tables anew."""
