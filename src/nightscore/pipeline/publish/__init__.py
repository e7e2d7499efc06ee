"""What was staged is reconciled, decided, audited and committed."""
